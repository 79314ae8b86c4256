/** Uniform blocks as the shaders declare them, and the parameters of dispatches against them. */
import { describe, expect, it } from "vitest";
import { checkParams, uniformWords } from "../../src/engine/uniforms.ts";
import { f32 } from "../../src/kernels/operator.ts";
import { importanceShader } from "../../src/shaders.generated.ts";
import { embeddedShaders } from "../support/shaders.ts";

describe("uniformWords", () => {
  it("reads every shader's block", () => {
    for (const [name, wgsl] of embeddedShaders) {
      const declared = wgsl.includes("var<uniform>");
      expect(uniformWords(wgsl).length > 0, name).toBe(declared);
    }
  });

  it("aligns members as WGSL does", () => {
    const block = `struct P {
      a: u32, // , not: a member
      b: vec2i,
      c: f32,
      d: vec3f,
      e: i32,
      f: array<vec4u, 2>,
    }
    @group(0) @binding(0) var<uniform> params: P;`;
    const gap = "padding";
    expect(uniformWords(block)).toEqual([
      ...["u32", gap, "i32", "i32"],
      ...["f32", gap, gap, gap],
      ...["f32", "f32", "f32", "i32"],
      ...new Array<string>(8).fill("u32"),
    ]);
  });

  it("refuses what it cannot lay out", () => {
    const block = (type: string): string => `struct P { a: ${type}, } @group(0) @binding(0) var<uniform> p: P;`;
    expect(() => uniformWords(block("mat2x2f"))).toThrow("a uniform block with a member of type mat2x2f");
    expect(() => uniformWords(block("array<u32, 4>"))).toThrow("array<u32, 4>");
  });
});

describe("checkParams", () => {
  const label = "node";

  it("takes what the struct has", () => {
    checkParams({ shader: "fill", params: [2 ** 32 - 1, f32(-0.5)], label });
    checkParams({ shader: importanceShader, params: [1, 2, 3, 0, ...new Array<number>(32).fill(0).map(f32)], label });
  });

  it.each([
    ["one too few", [4], "node: fill.wgsl takes 2 parameters, given 1"],
    ["one too many", [4, f32(1), 0], "takes 2 parameters, given 3"],
    ["an integer for a float", [4, 1], "parameter 1 of fill.wgsl is f32, given 1"],
    ["a float for an integer", [f32(4), f32(1)], "parameter 0 of fill.wgsl is u32, given f32(4)"],
    ["a number that is not whole", [4.5, f32(1)], "is u32, given 4.5"],
    ["a number below zero", [-1, f32(1)], "is u32, given -1"],
    ["a number beyond 32 bits", [2 ** 32, f32(1)], "is u32, given 4294967296"],
  ])("refuses %s", (_, params, message) => {
    expect(() => {
      checkParams({ shader: "fill", params, label });
    }).toThrow(message);
  });

  it("refuses a number where alignment leaves a gap", () => {
    const params = [1, 2, 3, 4, ...new Array<number>(32).fill(0).map(f32)];
    expect(() => {
      checkParams({ shader: importanceShader, params, label });
    }).toThrow("parameter 3 of importance.wgsl is padding, given 4");
  });
});
