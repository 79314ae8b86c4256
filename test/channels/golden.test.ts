/** The host's part of issue 3's table: golden relevance and tap sums in, the original's answers out. */
import { describe, expect, it } from "vitest";
import { findPairs } from "../../src/channels/find.ts";
import type { Pair } from "../../src/channels/find.ts";
import { RHOS } from "../../src/channels/rho.ts";
import { setsFromStudy, setsToText } from "../../src/channels/sets.ts";
import { must } from "../../src/errors.ts";
import { countsOf, tapSumsOf } from "../../src/relevance/study.ts";
import { GOLDEN, goldenArray, goldenMeta, goldenPairs, goldenStudy } from "../relevance/golden.ts";
import type { Form } from "../relevance/golden.ts";
import { sharedDir } from "../support/shared.ts";

type Key = Pick<Pair, "channel" | "class1" | "class2">;
const keyOf = (q: Key): string => `${q.channel},${q.class1},${q.class2}`;

/** Read when a test first needs it: where ../shared is absent, nothing is. */
const loaded = new Map<string, ReturnType<typeof load>>();
function golden(name: string): ReturnType<typeof load> {
  const known = loaded.get(name) ?? load(name);
  loaded.set(name, known);
  return known;
}
function load(name: string) {
  const near = goldenArray(name, "near");
  const [, T = 0, C = 0] = near.shape;
  const nearAt = (k: number, t: number, c: number): number => near.data[(k * T + t) * C + c] ?? 0;
  return { meta: goldenMeta(name), study: goldenStudy(name), T, C, nearAt };
}

describe.skipIf(sharedDir === undefined).each(GOLDEN)("golden %s (needs ../shared)", (name) => {
  it("keeps the tap sums", () => {
    const { study, T } = golden(name);
    const expected = goldenArray(name, "tapsums").data;
    const size = expected.length / T;
    for (let t = 0; t < T; t++) {
      const sums = must(tapSumsOf(study, t), "tap sums").toFloat64();
      for (let i = 0; i < size; i++) {
        const exact = expected[t * size + i] ?? NaN;
        // Three contributions of at most |exact|, the bound of exact-sum.ts; 2^-72 is what three float32 cannot hold.
        if (!(Math.abs((sums[i] ?? NaN) - exact) <= 3 * 2 ** -31 * Math.abs(exact)))
          expect.fail(`class ${t}, sum ${i}`);
      }
    }
  });

  it("counts important channels exactly, but for calls near the threshold", () => {
    const { study, meta, T, C, nearAt } = golden(name);
    const expected = goldenArray(name, "counts").data;
    meta.taus.forEach((_, k) => {
      for (let t = 0; t < T; t++)
        countsOf(study, "half", k, t).forEach((count, c) => {
          const off = Math.abs(count - (expected[(k * T + t) * C + c] ?? NaN));
          if (!(off <= nearAt(k, t, c))) expect.fail(`tau ${k}, class ${t}, channel ${c}: off by ${off}`);
        });
    });
  });

  it("finds the original's pairs in compat mode", () => {
    const { study, meta, nearAt } = golden(name);
    const { tau, p, gamma } = meta;
    const mine = findPairs(study, { tau, p, gamma, compat: "official" });
    const k = meta.taus.indexOf(tau);
    const doubtful = (q: Key & { cosine: number }): boolean =>
      Math.abs(q.cosine - gamma) <= 1e-3 ||
      Math.abs(q.cosine) <= 1e-3 ||
      nearAt(k, q.class1, q.channel) + nearAt(k, q.class2, q.channel) > 0;
    const found = new Map(mine.pairs.map((q) => [keyOf(q), q]));
    const expected = new Set(meta.found.map(keyOf));
    expect(mine.pairs.filter((q) => !expected.has(keyOf(q)) && !doubtful(q))).toEqual([]);
    expect(meta.found.filter((q) => !found.has(keyOf(q)) && !doubtful(q))).toEqual([]);

    const off = meta.found.flatMap((q) => {
      const pair = found.get(keyOf(q));
      return pair === undefined ? [] : [{ q, difference: Math.abs(pair.cosine - q.cosine) }];
    });
    // Each side's cosine went through 7 float16 roundings, of relative size 2^-11 at most; those of the squared norms
    // are halved by the root: 6 * 2^-11 in all, on either side. (The ARVs themselves, rounded once here and for each
    // image there, differ by less.) Nearly all agree far better than that.
    for (const { q, difference } of off)
      expect(difference, keyOf(q)).toBeLessThanOrEqual(12 * 2 ** -11 * q.cosine + 1e-6);
    expect(off.filter((o) => o.difference > 1e-3).length).toBeLessThanOrEqual(off.length / 100);
    const cosines = mine.pairs.map((q) => q.cosine);
    expect(cosines).toEqual(cosines.toSorted((a, b) => b - a));
  });

  it("knows the original's relevant classes", () => {
    const { study, meta, nearAt } = golden(name);
    const { tau, p, gamma } = meta;
    const k = meta.taus.indexOf(tau);
    const { relevant } = findPairs(study, { tau, p, gamma, compat: "official" });
    relevant.forEach((classes, c) => {
      const expected = meta.relevant[String(c)] ?? [];
      const differ = [...classes, ...expected].filter((t) => classes.includes(t) !== expected.includes(t));
      expect(differ.filter((t) => nearAt(k, t, c) === 0)).toEqual([]);
    });
  });

  it("gives the original's source sets for all rho", () => {
    const { study } = golden(name);
    for (const pair of goldenPairs(name))
      for (const rho of RHOS) {
        const request = { channel: pair.channel, classes: [pair.class1, pair.class2], rho, rule: "official" } as const;
        const text = setsToText(setsFromStudy(study, request), 2);
        const expected = pair.official[rho.toFixed(2)] ?? "";
        expect(text, `${keyOf(pair)} rho ${rho}`).toBe(expected);
      }
  });

  it("gives the oracle's symmetric sets for all rho, on the oriented vectors", () => {
    const { study } = golden(name);
    for (const pair of goldenPairs(name)) {
      const sign = study.meta.layer.sign[pair.channel] ?? 1;
      for (const rho of RHOS) {
        const request = { channel: pair.channel, classes: [pair.class1, pair.class2], rho, rule: "symmetric" } as const;
        const text = setsToText(setsFromStudy(study, request), 2);
        const expected = pair.arv1.map((v, i) => symmetric(sign * v, sign * (pair.arv2[i] ?? NaN), rho)).join("");
        if (sign === 1) expect(expected).toBe(pair.symmetric[rho.toFixed(2)]);
        expect(text, `${keyOf(pair)} rho ${rho}`).toBe(expected);
      }
    }
  });

  const forms: Form[] = name.startsWith("cifar100") ? ["-folded", "-negated"] : ["-folded"];
  it.each(forms)("gives the same pairs, sets and swap on the %s file by default", (form) => {
    const { study, meta } = golden(name);
    const other = goldenStudy(name, form);
    const { tau, p, gamma } = meta;
    const [plainPairs, otherPairs] = [study, other].map((s) => findPairs(s, { tau, p, gamma }).pairs.map(keyOf).sort());
    expect(otherPairs).toEqual(plainPairs);
    expect(plainPairs?.length).toBeGreaterThan(0);
    for (const { channel, class1, class2 } of goldenPairs(name))
      for (const rho of RHOS) {
        const request = { channel, classes: [class1, class2], rho, rule: "symmetric" } as const;
        const text = setsToText(setsFromStudy(study, request), 2);
        const theirs = setsToText(setsFromStudy(other, request), 2);
        expect(theirs, `${channel} rho ${rho}`).toBe(text);
        const swapped = setsFromStudy(study, { ...request, classes: [class2, class1] });
        const exchange = { "0": "0", "1": "2", "2": "1" } as Record<string, string>;
        expect(setsToText(swapped, 2)).toBe(Array.from(text, (d) => exchange[d]).join(""));
      }
  });
});

/** METHOD.md B in its two-concept form. */
function symmetric(v1: number, v2: number, rho: number): string {
  const m = (1 - rho) * Math.max(Math.abs(v1), Math.abs(v2));
  return v1 - v2 > m ? "1" : v2 - v1 > m ? "2" : "0";
}
