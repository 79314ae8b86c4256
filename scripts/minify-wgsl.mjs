// Makes WGSL small for embedding: comments and blanks go, and what a shader declares for itself gets short names. Nothing else
// changes, so a shader computes the same bits; the readable source is in shaders/. (npm has no minifier of WGSL that is kept.)
//
// A name is renamed alike in all shaders and all scopes, to one that nothing else in any of its shaders is called: so nothing
// is captured and nothing collides, whatever the scopes are; and text that was equal stays equal, which gzip likes: names
// chosen shader by shader cost 2.5 kB more.
import { wordsOf } from "./wgsl-words.mjs";

/** a, b, ..., Z, a0, b0, ...: no word of WGSL's is among them, keywords and reserved ones included. */
const LETTERS = [..."abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"];
const SHORT_NAMES = [...LETTERS, ...[..."0123456789"].flatMap((digit) => LETTERS.map((letter) => letter + digit))];

/** A short name for each that any of the shaders declares: the most frequent first, each the first that is free. */
function chooseNames(shaders) {
  const uses = new Map();
  for (const shader of shaders)
    for (const { text, role } of shader) {
      if (role !== "own") continue;
      const use = uses.get(text) ?? { count: 0, shaders: new Set() };
      use.count++;
      use.shaders.add(shader);
      uses.set(text, use);
    }
  const taken = new Map(
    shaders.map((shader) => [shader, new Set(shader.filter(({ role }) => role === "kept").map(({ text }) => text))]),
  );
  const byCount = [...uses].sort(([a, m], [b, n]) => n.count - m.count || (a < b ? -1 : 1));
  return new Map(
    byCount.map(([name, { shaders: own }]) => {
      const short = SHORT_NAMES.find((candidate) => [...own].every((shader) => !taken.get(shader).has(candidate)));
      if (short === undefined) throw new Error("more names than there are short ones");
      for (const shader of own) taken.get(shader).add(short);
      return [name, short];
    }),
  );
}

/** 1.0 is 1. and 0.5 is .5, with the suffix that it has; integers, exponents and hexadecimal numbers stay as they are. */
const shortNumber = (text) =>
  /^\d+\.\d+[fh]?$/.test(text) ? text.replace(/0+(?=[fh]?$)/, "").replace(/^0+(?=\.\d)/, "") : text;

/** Signs that would become another where they touch; a template that ends before "=" is among them. */
const MERGED = new Set("++ -- && || << >> <= >= == != -> += -= *= /= %= &= |= ^= // /* */".split(" "));

function print(shader, names) {
  let [out, before] = ["", undefined];
  shader.forEach((token, k) => {
    const { kind, text, apart, role } = token;
    // A comma before a closing bracket says nothing.
    if (text === "," && [")", "}"].includes(shader[k + 1]?.text)) return;
    const signs = kind === "sign" && before?.kind === "sign";
    const words = before !== undefined && kind !== "sign" && before.kind !== "sign";
    if (words || (signs && apart && MERGED.has(before.text + text))) out += " ";
    out += role === "own" ? names.get(text) : kind === "number" ? shortNumber(text) : text;
    before = token;
  });
  return out;
}

/**
 * @param {Readonly<Record<string, string>>} shaders their WGSL by name
 * @returns {Record<string, string>} the same, small
 */
export function minifyShaders(shaders) {
  const known = Object.entries(shaders).map(([name, wgsl]) => [name, wordsOf(wgsl)]);
  const names = chooseNames(known.map(([, words]) => words));
  return Object.fromEntries(known.map(([name, words]) => [name, print(words, names)]));
}
