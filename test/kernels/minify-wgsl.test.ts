/** Shaders as they are embedded: small, and token for token what stands in shaders/. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, test } from "vitest";
import { minifyShaders } from "../../scripts/minify-wgsl.mjs";
import { tokens, type Token } from "../../scripts/wgsl-words.mjs";
import { root } from "../cli/built.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { embeddedShaders } from "../support/shaders.ts";

const small = (wgsl: string): string => minifyShaders({ wgsl }).wgsl ?? "";

const folder = join(root, "shaders");
const sources = Object.fromEntries(
  readdirSync(folder).map((file) => [file.replace(".wgsl", ""), readFileSync(join(folder, file), "utf8")] as const),
);

describe("minifyShaders", () => {
  it("drops comments, nested ones too, blanks, and commas before brackets", () => {
    const source = "fn f(\n  a: u32, // the first\n) /* is /* nested */ still */ -> u32 {\n  return a + 1u; /**/\n}\n";
    expect(small(source)).toBe("fn b(a:u32)->u32{return a+1u;}");
    expect(() => small("/* /* */")).toThrow("a comment has no end");
  });

  it("keeps numbers", () => {
    expect(small("const a = 1.e-3f + 0x1p-2 + 10.0 + 0.50f + 0.0 + 100 + 0x10 + 1e10 + .5h;")).toBe(
      "const a=1.e-3f+0x1p-2+10.+.5f+0.+100+0x10+1e10+.5h;",
    );
  });

  it("keeps apart signs and words that would become others", () => {
    const source =
      "fn f(p: ptr<function, i32>) { let a: array<i32, 2> = g(* p - -1, 4 & &b); if (!a) { *p++; } else if x {} }";
    expect(small(source)).toContain("array<i32,2> =g(*");
    expect(small(source)).toContain("- -1,4& &");
    expect(small(source)).toContain("else if x{}");
  });

  it("renames structs, members, functions, parameters and variables, the same name everywhere alike", () => {
    const source = `struct Params { width: u32, @align(16) x: f32, length: u32 }
      @group(0) @binding(0) var<uniform> params: Params;
      var<private> value: vec4<f32>;
      fn twice(width: u32) -> u32 { return 2u * width * params.width + params.length; }
      fn other(v: vec4f) -> f32 { return length(value.xyz) + params.x + value.x + v.w; }`;
    const text = small(source);
    for (const gone of ["Params", "params", "width", "value", "twice", "other", ".length"])
      expect(text).not.toContain(gone);
    expect(text).toMatch(/\.xyz\)/);
    expect(text).toMatch(/[( ]length\(/);
    // The parameter, and the member of the same name.
    const [, parameter = "", member = ""] = /return 2u\*(\w+)\*\w+\.(\w+)\+/.exec(text) ?? [];
    expect(parameter).toBe(member);
    expect(text).toContain(`struct ${/var<uniform>\w+:(\w+)/.exec(text)?.[1] ?? ""}{${member}:u32,@align(16)x:f32,`);
  });

  it("keeps what programs and the language name", () => {
    const source = `enable f16;
      override TILE: u32 = 4u;
      const max = 3u;
      @compute @workgroup_size(TILE) fn main(@builtin(workgroup_id) workgroup_id: vec3u) {
        let f16 = min(workgroup_id.x, TILE); let main = f16;
      }`;
    const text = small(source);
    expect(text).toContain(
      "enable f16;override TILE:u32=4u;const max=3u;@compute@workgroup_size(TILE)fn main(@builtin(workgroup_id)a:vec3u)",
    );
    expect(text).toContain("let f16=min(a.x,TILE);let main=f16;");
  });

  it("gives no name that the shader has already", () => {
    // `a` is kept, for the override has it; `b` is a letter of vectors.
    expect(small("override a: u32; fn f(v: vec4f) -> f32 { return v.b; }")).toBe(
      "override a:u32;fn d(c:vec4f)->f32{return c.b;}",
    );
  });

  it("gives the same name in all shaders, and short ones to rare names where they are free", () => {
    const many = Array.from({ length: 60 }, (_, k) => `const name${k} = ${k};`).join("\n");
    const made = minifyShaders({
      one: `${many} const shared = name1;`,
      two: "const shared = 1; const alone = shared;",
    });
    const name = /const (\w+)=(\w+);$/.exec(made.one ?? "")?.[1] ?? "?";
    expect(made.two).toMatch(new RegExp(`^const ${name}=1;const [a-zA-Z]=${name};$`));
    const names = [...(made.one ?? "").matchAll(/const (\w+)=/g)].map(([, n]) => n);
    expect(new Set(names).size).toBe(61);
  });
});

/** Tokens without commas before brackets, numbers by their value. */
const plain = (wgsl: string): Token[] =>
  tokens(wgsl).flatMap((token, k, list) => {
    if (token.text === "," && /^[)}]$/.test(list[k + 1]?.text ?? "")) return [];
    const [, digits = "", suffix = ""] = /^(\d*\.\d*)([fh]?)$/.exec(token.text) ?? [];
    return [digits === "" ? token : { ...token, text: `${Number(digits)} ${suffix}` }];
  });

/** Fails unless one is the other with names replaced, each new one standing for one old one. */
function expectRenamed(wgsl: string, source: string): void {
  const [now, then] = [plain(wgsl), plain(source)];
  expect(now.map(({ kind }) => kind)).toEqual(then.map(({ kind }) => kind));
  const [oldOf, newOf] = [new Map<string, Set<string>>(), new Map<string, Set<string>>()];
  now.forEach(({ kind, text }, k) => {
    const old = then[k]?.text ?? "";
    if (kind !== "word") expect(text).toBe(old);
    oldOf.set(text, (oldOf.get(text) ?? new Set()).add(old));
    if (text !== old) newOf.set(old, (newOf.get(old) ?? new Set()).add(text));
  });
  expect([...oldOf].filter(([, olds]) => olds.size > 1)).toEqual([]);
  // A name may stay besides where it is a vector's letter too.
  expect([...newOf].filter(([, news]) => news.size > 1)).toEqual([]);
}

describe("embedded shaders", () => {
  it("are those of the folder", () => {
    expect(embeddedShaders.map(([name]) => name).sort()).toEqual(Object.keys(sources).sort());
  });

  it.each(embeddedShaders)("%s.wgsl is its source, renamed one to one", (name, wgsl) => {
    const source = sources[name] ?? "";
    expectRenamed(wgsl, source);
    const entries = (text: string): string[] =>
      [...text.matchAll(/@workgroup_size\([^)]*\)\s*fn (\w+)/g)].map(([, n = ""]) => n);
    const overrides = (text: string): string[] => [...text.matchAll(/override (\w+)/g)].map(([, n = ""]) => n);
    expect(entries(wgsl)).toEqual(entries(source));
    expect(overrides(wgsl)).toEqual(overrides(source));
  });
});

onAdapters("embedded shaders", (gpu) => {
  test.each(embeddedShaders)("%s.wgsl compiles", async (_, code) => {
    gpu().device.pushErrorScope("validation");
    const { messages } = await gpu().device.createShaderModule({ code }).getCompilationInfo();
    expect(messages.map(({ message }) => message)).toEqual([]);
    expect(await gpu().device.popErrorScope()).toBeNull();
  });
});
