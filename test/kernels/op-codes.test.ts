/** Codes of elementwise operators and reductions: OP in the shaders, and the tables on the host that give it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { binaryCode, binaryFunctions } from "../../src/kernels/binary.ts";
import { COUNT, REDUCTIONS } from "../../src/kernels/reduction-host.ts";
import { unaryCode, unaryFunctions } from "../../src/kernels/unary-host.ts";
import { root } from "../cli/built.ts";

const source = (shader: string): string => readFileSync(join(root, "shaders", `${shader}.wgsl`), "utf8");

/** `const NAME = 3u;` of a shader. */
const codesIn = (wgsl: string): Record<string, number> =>
  Object.fromEntries(
    [...wgsl.matchAll(/^const ([A-Z0-9_]+) = (\d+)u;/gm)].map(([, name = "", n]) => [name, Number(n)] as const),
  );

/** LeakyRelu as the shaders write it: LEAKY_RELU. */
const constantName = (name: string): string => name.replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase();

const codesOf = <K extends string>(table: Record<K, unknown>, codeOf: (name: K) => number): Record<string, number> =>
  Object.fromEntries((Object.keys(table) as K[]).map((name) => [constantName(name), codeOf(name)]));

const reductions = codesOf(REDUCTIONS, (name) => REDUCTIONS[name].code);

describe("codes on the host are those of the shader", () => {
  it.each([
    ["unary", codesOf(unaryFunctions, unaryCode)],
    ["binary", codesOf(binaryFunctions, binaryCode)],
    ["reduce", { ...reductions, COUNT }],
    ["reduce_gradient", reductions],
  ] as const)("%s.wgsl", (shader, codes) => {
    expect(codesIn(source(shader))).toEqual(codes);
  });
});

/** The text of a function, to the brace that closes it. */
function functionIn(wgsl: string, name: string): string {
  const start = wgsl.indexOf(`fn ${name}(`);
  return start < 0 ? "" : wgsl.slice(start, wgsl.indexOf("\n}\n", start));
}

it.each(["unary", "binary"] as const)("%s.wgsl computes every operator that it has a code for", (shader) => {
  const value = functionIn(source(shader), "value");
  for (const name of Object.keys(codesIn(source(shader)))) expect(value).toContain(`case ${name}: `);
});
