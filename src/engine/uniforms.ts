/**
 * What the uniform block of a shader holds, read from its WGSL. A dispatch's parameters are a list whose order only the
 * shader knows, and WebGPU sees no more of a wrong one than that its bytes are too few: so each list is held against the
 * struct when the dispatch is planned.
 */
import { invariant, must } from "../errors.ts";
import type { KernelCall, Param } from "../kernels/operator.ts";
import { codeOf, nameOf } from "../gpu/gpu.ts";

/** Type of one 32-bit word; "padding" where alignment leaves one between members. */
export type Word = "u32" | "i32" | "f32" | "padding";

const SCALARS = { u: "u32", i: "i32", f: "f32" } as const satisfies Record<string, Word>;

/** A member's words, and the multiple of words at which it begins. (WGSL, 14.4.1 "Alignment and Size") */
function wordsOf(type: string): { readonly words: readonly Word[]; readonly align: number } {
  const array = /^array<\s*(vec4[uif])\s*,\s*(\d+)\s*>$/.exec(type);
  if (array !== null) {
    const [, element = "", count = "0"] = array;
    return { words: Array.from({ length: Number(count) }, () => wordsOf(element).words).flat(), align: 4 };
  }
  const scalar = Object.values(SCALARS).find((s) => s === type);
  if (scalar !== undefined) return { words: [scalar], align: 1 };
  const [, size = "", letter = ""] = /^vec([234])([uif])$/.exec(type) ?? [];
  const element = Object.entries(SCALARS).find(([l]) => l === letter)?.[1];
  invariant(element !== undefined, `a uniform block with a member of type ${type}`);
  return { words: new Array<Word>(Number(size)).fill(element), align: size === "2" ? 2 : 4 };
}

/**
 * The words of a shader's uniform block in their order, without what follows the last member; none where the shader has
 * no such block.
 * @param wgsl a shader with at most one `var<uniform>`, whose members are scalars, vectors and arrays of vec4
 */
export function uniformWords(wgsl: string): readonly Word[] {
  const code = wgsl.replace(/\/\/.*/g, "");
  const struct = /var<uniform>\s*\w+\s*:\s*(\w+)/.exec(code)?.[1];
  if (struct === undefined) return [];
  const body = must(new RegExp(`struct\\s+${struct}\\s*\\{([^}]*)\\}`).exec(code)?.[1], `struct ${struct}`);
  const words: Word[] = [];
  for (const [, type = ""] of body.matchAll(/\w+\s*:\s*(array<[^>]*>|\w+)/g)) {
    const member = wordsOf(type);
    while (words.length % member.align !== 0) words.push("padding");
    words.push(...member.words);
  }
  return words;
}

const layouts = new Map<string, readonly Word[]>();

function layoutOf(shader: KernelCall["shader"]): readonly Word[] {
  let layout = layouts.get(nameOf(shader));
  if (layout === undefined) {
    layout = uniformWords(codeOf(shader));
    layouts.set(nameOf(shader), layout);
  }
  return layout;
}

function fits(param: Param, word: Word): boolean {
  if (word === "f32") return typeof param !== "number";
  if (typeof param !== "number" || !Number.isInteger(param)) return false;
  if (word === "padding") return param === 0;
  const [least, end] = word === "u32" ? [0, 2 ** 32] : [-(2 ** 31), 2 ** 31];
  return least <= param && param < end;
}

/** Fails where the parameters of a dispatch are not those of its shader's uniform block, in number, type or range. */
export function checkParams({ shader, params, label }: Pick<KernelCall, "shader" | "params" | "label">): void {
  const layout = layoutOf(shader);
  invariant(
    params.length === layout.length,
    `${label}: ${nameOf(shader)}.wgsl takes ${layout.length} parameters, given ${params.length}`,
  );
  params.forEach((param, k) => {
    const word = must(layout[k], "word");
    const shown = typeof param === "number" ? String(param) : `f32(${param.f32})`;
    invariant(fits(param, word), `${label}: parameter ${k} of ${nameOf(shader)}.wgsl is ${word}, given ${shown}`);
  });
}

/** Of a uniform block: a multiple of 16. */
export const paramBytes = (params: readonly Param[]): number => Math.max(16, Math.ceil(params.length / 4) * 16);

/** The block as the device reads it. */
export function packParams(params: readonly Param[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(paramBytes(params));
  const view = new DataView(bytes.buffer);
  params.forEach((p, k) => {
    if (typeof p === "number") view.setInt32(4 * k, p, true);
    else view.setFloat32(4 * k, p.f32, true);
  });
  return bytes;
}
