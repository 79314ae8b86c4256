/** The change of a shader's text that puts some of its tensors into float16, and weights rounded on the host. */
import { expect, test } from "vitest";
import { halvable, withHalves } from "../../src/engine/half-shader.ts";
import { toHalves } from "../../src/engine/to-halves.ts";
import { halfBits } from "../../src/onnx/half.ts";
import { shaders, type ShaderName } from "../../src/shaders.generated.ts";
import { candidateTiles } from "../../src/kernels/conv-tiles.ts";
import { shaderOf } from "../../src/kernels/conv-fours.ts";
import { halfAdapters } from "../support/half.ts";
import { uniform } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";

const shader = (code: string) => ({ name: `test ${code.length} ${code}`, code });
const bindings = `
@group(0) @binding(1) var<storage, read> a: array<vec4f>; // a[0] = 1;
@group(0)@binding(2)var<storage,read_write>b:array<vec4f>;
@group(0) @binding(2) var<storage, read_write> rows: array<f32>;`;
const entry = (body: string) => shader(`${bindings}\n@compute @workgroup_size(1) fn main() { ${body} }`);

test("loads become float32, stores are rounded, and nothing else changes", () => {
  const s = entry("let i = 0u; b[i + 1u] = a[select(0u, i, i < 2u)] * a[1u]; if (a[i].x == 1.0) { b[i]=vec4f(); }");
  expect([...halvable(s)]).toEqual([
    [1, "a"],
    [2, "b"],
  ]);
  const { name, code } = withHalves(s, ["a", "b"]);
  expect(name).toBe(`${s.name}, halves in a b`);
  expect(code.startsWith("enable f16;\n")).toBe(true);
  expect(code).toContain("var<storage, read> a: array<vec4<f16>>;");
  expect(code).toContain("b:array<vec4<f16>>;");
  expect(code).toContain("rows: array<f32>");
  const body = code.slice(code.indexOf("{")).replace(/\s+/g, "");
  expect(body).toContain("b[i+1u]=vec4<f16>(vec4f(a[select(0u,i,i<2u)])*vec4f(a[1u]));");
  expect(body).toContain("if(vec4f(a[i]).x==1.0){b[i]=vec4<f16>(vec4f());}");
  // Only one of them.
  expect(withHalves(s, ["a"]).code).toContain("b:array<vec4f>;");
});

test("a variable that is used otherwise keeps float32, as does a binding that an entry point has another type for", () => {
  const may = (body: string): number[] => [...halvable(entry(body)).keys()];
  expect(may("b[0u] += a[0u];")).toEqual([1]);
  expect(may("b[0u].x = a[0u].y;")).toEqual([1]);
  expect(may("b[0u][1u] = a[0u][2u];")).toEqual([1]);
  expect(may("let p = &b; let x = a[0u];")).toEqual([1]);
  expect(may("b[u32(rows[0])] = a[0u];")).toEqual([1]);
  expect(may("rows[0] = a[0u].x;")).toEqual([1]);
  expect(may("let n = arrayLength(&a); b[n] = vec4f();")).toEqual([2]);
  // Embedded shaders have short names: bindings tell their variables.
  expect([...halvable("binary", "same_shape").keys()]).toEqual([1, 2, 3]);
  expect([...halvable("binary", "main").keys()]).toEqual([]);
  expect([...halvable("fours", "pack").keys()]).toEqual([2]);
  expect([...halvable("fours", "unpack").keys()]).toEqual([1]);
});

test("convolutions take all of their tensors in halves, whatever the tile", () => {
  const all = ["input", "weights", "bias", "residual", "mask", "output", "sums"];
  for (const subgroups of [0, 4, 8, 32])
    for (const tile of candidateTiles(subgroups))
      for (const channels of tile.share === "memory" ? [4] : [1, 2, 3, 4])
        expect([...halvable(shaderOf({ ...tile, channels })).values()]).toEqual(all);
  expect([...halvable("conv_depthwise").keys()]).toEqual(all.map((_, k) => k + 1));
  expect([...halvable("winograd", "input_4").keys()]).toEqual([1, 2]);
});

const entries = (code: string): string[] =>
  [...code.matchAll(/@compute[^{]*?\bfn\s+(\w+)/g)].map(([, name = ""]) => name);

onAdapters(
  "shaders with all in halves that may be",
  (gpu) => {
    test.each(Object.keys(shaders) as ShaderName[])("%s compiles", async (name) => {
      for (const entryPoint of entries(shaders[name])) {
        const variables = [...halvable(name, entryPoint).values()];
        if (variables.length === 0) continue;
        const constants = /override OP:\s*u32;/.test(shaders[name]) ? { OP: 0 } : {};
        const made = await gpu().pipeline({ shader: withHalves(name, variables), entry: entryPoint, constants });
        expect(made.pipeline).toBeDefined();
      }
    });

    test("every tile of the convolution compiles", async () => {
      for (const tile of candidateTiles(gpu().subgroups)) {
        const s = { name: `${shaderOf(tile).name}, tested`, code: shaderOf(tile).code };
        const made = await gpu().pipeline({ shader: withHalves(s, [...halvable(s).values()]) });
        expect(made.pipeline).toBeDefined();
      }
    });
  },
  halfAdapters,
);

test("weights are rounded as halfBits rounds them, over all of float32", () => {
  const next = uniform(3);
  const special = [0, -0, 65504, 65519.99, 65520, -65536, 2 ** -14, 2 ** -24, 2 ** -25, 1.5 * 2 ** -24, NaN, Infinity];
  const numbers = new Float32Array(200_000);
  const words = new Uint32Array(numbers.buffer);
  words.forEach((_, i) => (words[i] = 2 ** 32 * next()));
  for (let i = 0; i < 100_000; i++) numbers[i] = 4 * next() - 2;
  numbers.set(special);
  expect(Array.from(toHalves(numbers))).toEqual(Array.from(numbers, halfBits));
  // A part of a larger array, as the host reads large tensors.
  expect(Array.from(toHalves(numbers.subarray(1, 4)))).toEqual(special.slice(1, 4).map(halfBits));
});
