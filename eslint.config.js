import tseslint from "typescript-eslint";

// The order of the house: each folder may import only those that stand before it (images needs none of the others).
const order = ["onnx", "graph", "gpu", "kernels", "engine", "relevance", "channels", "images", "report", "cli"];
const above = (room) => (room === "images" ? order.filter((r) => r !== room) : order.slice(order.indexOf(room) + 1));

const stairs = order
  .filter((room) => above(room).length > 0)
  .map((room) => ({
    files: [`src/${room}/**/*.ts`],
    rules: {
      "no-restricted-imports": [
        "error",
        {
          patterns: [
            {
              group: above(room).map((r) => `**/${r}/**`),
              message: `src/${room} may import only folders before it: ${order.join(", ")}.`,
            },
          ],
        },
      ],
    },
  }));

export default tseslint.config(
  { ignores: ["dist/**", "node_modules/**", "src/*.generated.ts", "models/**", "examples/**/dist/**"] },
  {
    files: ["**/*.ts"],
    extends: [...tseslint.configs.strictTypeChecked, ...tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/no-non-null-assertion": "error",
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: true }],
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/no-unnecessary-condition": ["error", { allowConstantLoopConditions: true }],
      "@typescript-eslint/unified-signatures": "off",
      "no-console": "error",
    },
  },
  { files: ["src/cli/**/*.ts", "bench/**/*.ts", "test/support/**/*.ts"], rules: { "no-console": "off" } },
  ...stairs,
);
