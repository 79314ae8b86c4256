// WGSL as tokens, and what each word of a shader is: declared by it, or given by the language or by programs.

const TOKEN =
  /(?<blank>\s+|\/\/[^\n]*)|(?<word>[\p{XID_Start}_]\p{XID_Continue}*)|(?<number>0[xX][\da-fA-F.]+(?:[pP][+-]?\d+)?[iufh]?|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[iufh]?)|(?<sign>.)/suy;

/** @returns {{ kind: "word" | "number" | "sign", text: string, apart: boolean }[]} apart: blanks or comments stand before it */
export function tokens(wgsl) {
  const found = [];
  let apart = false;
  for (let at = 0; at < wgsl.length;) {
    if (wgsl.startsWith("/*", at)) {
      at = endOfComment(wgsl, at);
      apart = true;
      continue;
    }
    TOKEN.lastIndex = at;
    const [text, blank, word, number] = TOKEN.exec(wgsl);
    at += text.length;
    apart ||= blank !== undefined;
    if (blank !== undefined) continue;
    found.push({ kind: word ? "word" : number ? "number" : "sign", text, apart });
    apart = false;
  }
  return found;
}

/** Comments nest. */
function endOfComment(wgsl, start) {
  let depth = 0;
  for (const { 0: mark, index } of wgsl.slice(start).matchAll(/\/\*|\*\//g)) {
    depth += mark === "/*" ? 1 : -1;
    if (depth === 0) return start + index + 2;
  }
  throw new Error("a comment has no end");
}

/**
 * Functions and types of the language: a shader that declares one for itself may mean the language's elsewhere, so these
 * names stay. (WGSL, 6 and 17)
 */
const LANGUAGE =
  /^(?:(?:texture|sampler|subgroup|quad|pack|unpack|atomic|dpd|fwidth|dot4|vec[234]|mat[234]x[234])\w*|bool|[fiu](?:16|32)|ptr|array|arrayLength|bitcast|select|all|any|abs|a?cosh?|a?sinh?|a?tanh?|atan2|ceil|clamp|countLeadingZeros|countOneBits|countTrailingZeros|cross|degrees|determinant|distance|dot|exp2?|extractBits|faceForward|firstLeadingBit|firstTrailingBit|floor|fma|fract|frexp|insertBits|inverseSqrt|ldexp|length|log2?|max|min|mix|modf|normalize|pow|quantizeToF16|radians|reflect|refract|reverseBits|round|saturate|sign|smoothstep|sqrt|step|transpose|trunc|storageBarrier|workgroupBarrier|workgroupUniformLoad)$/;
/** Letters of vectors: what stands behind a dot may be these, whatever else has the name. */
const SWIZZLE = /^(?:[xyzw]{1,4}|[rgba]{1,4})$/;

/**
 * The tokens of a shader, each with its role: "own" is a name that the shader declares for itself (a function, a variable, a
 * parameter, a struct, a member), "kept" all else. Overrides and entry points are kept too: programs name them.
 * @param {string} wgsl
 * @param {ReadonlySet<string>} [known] further names that programs refer to
 */
export function wordsOf(wgsl, known = new Set()) {
  const list = tokens(wgsl);
  const text = (k) => list[k]?.text;
  const [declared, members, kept] = [new Set(), new Set(), new Set(known)];
  /** Places of words that the grammar gives their meaning, and of members. */
  const [fixed, behindDots] = [new Set(), new Set()];
  let entry = false;
  for (let k = 0; k < list.length; k++) {
    const word = text(k);
    if (word === "@") {
      fixed.add(k + 1);
      if (["compute", "vertex", "fragment"].includes(text(k + 1))) entry = true;
      if (["builtin", "interpolate", "diagnostic"].includes(text(k + 1))) fixed.add(k + 3);
    } else if (["enable", "requires", "diagnostic"].includes(word)) {
      while (text(k) !== ";") fixed.add(k++);
    } else if (word === "fn") {
      (entry ? kept : declared).add(text(k + 1));
      entry = false;
      for (const at of beforeColons(list, k + 2, "(", ")")) declared.add(text(at));
    } else if (word === "struct") {
      declared.add(text(k + 1));
      for (const at of beforeColons(list, k + 2, "{", "}")) {
        members.add(text(at));
        behindDots.add(at);
      }
    } else if (["let", "const", "var", "alias", "override"].includes(word)) {
      // var<storage, read> name
      const at = text(k + 1) === "<" ? list.findIndex((t, n) => n > k && t.text === ">") + 1 : k + 1;
      (word === "override" ? kept : declared).add(text(at));
    } else if (word === ".") behindDots.add(k + 1);
  }
  const isOwn = (word, k) => {
    if (fixed.has(k) || kept.has(word)) return false;
    return behindDots.has(k) ? members.has(word) && !SWIZZLE.test(word) : declared.has(word) && !LANGUAGE.test(word);
  };
  return list.map((token, k) => ({
    ...token,
    role: token.kind === "word" && isOwn(token.text, k) ? "own" : "kept",
  }));
}

/** Places of the names before a colon, from the bracket at `start` to the one that closes it. */
function* beforeColons(list, start, open, close) {
  let depth = 0;
  for (let k = start; k < list.length; k++) {
    if (list[k].text === open) depth++;
    if (list[k].text === close && --depth === 0) return;
    if (list[k].kind === "word" && list[k + 1]?.text === ":") yield k;
  }
}
