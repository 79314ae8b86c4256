/** docs/errors.md lists every code, each once, and none that is gone. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { EXIT_CODES } from "../../src/errors.ts";
import { CHECK_FAILED } from "../../src/cli/command.ts";
import { root } from "./built.ts";

/** Texts of the same form that are no codes: values of ONNX attributes, names of reductions, WebGL's constants. */
const OTHERS = new Set([
  ...["SAME_UPPER", "SAME_LOWER", "LOG_SUM", "LOG_SUM_EXP", "SUM_SQUARE"],
  ...["COLOR_ATTACHMENT0", "FRAMEBUFFER_COMPLETE", "MAX_TEXTURE_SIZE", "TEXTURE_2D", "UNSIGNED_BYTE"],
  ...["UNPACK_COLORSPACE_CONVERSION_WEBGL", "UNPACK_PREMULTIPLY_ALPHA_WEBGL"],
]);

function codesInSource(): Set<string> {
  const codes = new Set<string>();
  for (const name of readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })) {
    if (!name.endsWith(".ts") || name.endsWith(".generated.ts")) continue;
    const text = readFileSync(join(root, "src", name), "utf8");
    // Codes of one word stand as an argument behind the kind or the node; longer ones show by their form alone.
    for (const [, code = ""] of text.matchAll(
      /(?:UnbraidError\(\s*"\w+"|modelError\([\w.]+|usageError\()[,\s]\s*"([A-Z]+)"/g,
    ))
      codes.add(code);
    for (const [, code = ""] of text.matchAll(/"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)"/g))
      if (!OTHERS.has(code)) codes.add(code);
  }
  return codes;
}

const text = readFileSync(join(root, "docs", "errors.md"), "utf8");

it("documents every error code", () => {
  const listed = [...text.matchAll(/^\| `([A-Z0-9_]+)`/gm)].map(([, code = ""]) => code);
  expect(new Set(listed).size).toBe(listed.length);
  expect([...listed].sort()).toEqual([...codesInSource()].sort());
});

it("documents every exit code", () => {
  for (const [kind, code] of Object.entries(EXIT_CODES))
    expect(text).toMatch(new RegExp(`^\\| ${code} +\\| \`${kind}\``, "m"));
  expect(text).toMatch(new RegExp(`^\\| ${CHECK_FAILED} +\\| `, "m"));
});
