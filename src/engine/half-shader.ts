/**
 * Shaders that keep some of their tensors in float16. Nothing else of a kernel changes: what it loads from such a tensor
 * becomes float32 at once, all arithmetic is float32's, and what it stores is rounded to the nearest float16 last. So a kernel is
 * written once, for float32, and its text is changed here: `array<vec4f>` of the binding, vec4f(...) around what is loaded from
 * it, vec4<f16>(...) around what is stored.
 *
 * WGSL cannot say this itself (no generics; an alias would have to come before the shader that is valid alone). The change is
 * made where all uses of a variable are plain loads and stores of elements; other kernels keep float32.
 */
import { must } from "../errors.ts";
import { codeOf, nameOf } from "../gpu/gpu.ts";
import type { GeneratedShader, KernelCall } from "../kernels/operator.ts";

type Shader = KernelCall["shader"];

const VARIABLE = /@binding\((\d+)\)\s*var<storage,\s*\w+>\s*(\w+)\s*:\s*array<(\w+)>/g;
/** An element of a variable: none of the shaders' indices has brackets within. */
const element = (name: string): string => `(?<![\\w.])${name}\\[[^\\[\\]]*\\]`;

/** Changes all uses of a variable; undefined where one of them is neither a load nor a store of an element. */
function rewritten(code: string, name: string): string | undefined {
  let left = [...code.matchAll(new RegExp(`(?<![\\w.])${name}\\b(?!\\s*:)`, "g"))].length;
  const took = (text: string): string => {
    left--;
    return text;
  };
  const changed = code
    .replace(new RegExp(`${element(name)}(?!\\s*(\\.\\w+\\s*|\\[[^\\]]*\\]\\s*)?[-+*/]?=(?!=))`, "g"), (load) =>
      took(`vec4f(${load})`),
    )
    .replace(new RegExp(`(${element(name)}\\s*=(?!=))([^;]*);`, "g"), (_, to: string, value: string) =>
      took(`${to} vec4<f16>(${value});`),
    )
    .replace(new RegExp(`(\\b${name}\\s*:\\s*array<)vec4f>`), "$1vec4<f16>>");
  return left === 0 ? changed : undefined;
}

/** The text between the braces that open first after `start`. */
function bodyAt(code: string, start: number): string {
  const first = code.indexOf("{", start);
  let depth = 0;
  for (let at = first; at < code.length; at++) {
    if (code[at] === "{") depth++;
    else if (code[at] === "}" && --depth === 0) return code.slice(first, at);
  }
  return "";
}

/** Names in the functions that an entry point reaches. */
function namesFrom(code: string, entry: string): ReadonlySet<string> {
  const bodies = new Map([...code.matchAll(/\bfn\s+(\w+)/g)].map((m) => [m[1] ?? "", bodyAt(code, m.index)]));
  const names = new Set([entry]);
  // A set gives what is added to it meanwhile, too.
  for (const name of names) for (const [word] of (bodies.get(name) ?? "").matchAll(/\w+/g)) names.add(word);
  return names;
}

const plain = (shader: Shader): string => codeOf(shader).replace(/\/\/.*/g, "");

const known = new Map<string, ReadonlyMap<number, string>>();

/** Of an entry point, the variables that may hold halves, by binding. Several variables of one binding are never used by one. */
export function halvable(shader: Shader, entry = "main"): ReadonlyMap<number, string> {
  const key = `${nameOf(shader)}: ${entry}`;
  let found = known.get(key);
  if (found === undefined) {
    const code = plain(shader);
    const names = namesFrom(code, entry);
    const variables = [...code.matchAll(VARIABLE)].map(([, binding, name = "", type]) => ({
      binding: Number(binding),
      name,
      may: type === "vec4f" && rewritten(code, name) !== undefined,
    }));
    const used = variables.filter(({ name }) => names.has(name));
    const others = new Set(used.filter(({ may }) => !may).map(({ binding }) => binding));
    found = new Map(used.filter(({ binding }) => !others.has(binding)).map(({ binding, name }) => [binding, name]));
    known.set(key, found);
  }
  return found;
}

const made = new Map<string, GeneratedShader>();

/** The shader with halves in these variables, of those that `halvable` gives. */
export function withHalves(shader: Shader, variables: readonly string[]): GeneratedShader {
  const name = `${nameOf(shader)}, halves in ${variables.join(" ")}`;
  let changed = made.get(name);
  if (changed === undefined) {
    const code = variables.reduce((text, variable) => must(rewritten(text, variable), variable), plain(shader));
    changed = { name, code: `enable f16;\n${code}` };
    made.set(name, changed);
  }
  return changed;
}
