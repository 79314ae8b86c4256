/** Splits by weights on a small network: the additive and the tuned rule, sets made of their parts, classes and clusters. */
import { expect, test } from "vitest";
import { heldWeights, setsByHeld } from "../../src/channels/parts.ts";
import { RHOS, threeFolds } from "../../src/channels/rho.ts";
import { type Cluster } from "../../src/channels/split-run.ts";
import { must } from "../../src/errors.ts";
import { meanTapSums, relevanceVector, weightsOf } from "../../src/relevance/arv.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { CASE, PER_CLASS, TAPS, all, geometry, images, makeStudy, requested, study } from "./split-network.ts";
import { planner } from "./split-planner.ts";

onAdapters("planning splits by weights", (gpu) => {
  const { plan } = planner(gpu);

  test.each([1, -1])("the additive rule: parts add up, and swap with the classes (orientation %i)", async (sign) => {
    const oriented = makeStudy(sign);
    const o = { rule: "additive" as const, study: oriented };
    requested.length = 0;
    const [got] = await plan([{ channel: 7, classes: [2, 0] }], o);
    // All images of the class that is not split between, at once; of the others the last part apart, for the guards and after.
    const parts = [0, 2].flatMap((t) => {
      const { arv, choose, report } = threeFolds(PER_CLASS[t] ?? 0);
      const first = [...arv, ...choose].sort((a, b) => a - b);
      return [first, report, report].map((list) => `${t}: ${list.join()}`);
    });
    expect(requested.toSorted()).toEqual([`1: ${all(1).join()}`, ...parts].toSorted());
    const weights = weightsOf(oriented.meta.layer, 7);
    const rows = must(got?.parts, "parts");
    weights.forEach((w, j) => {
      // Sums of float64, whose last places are lost where the parts are larger than the weight.
      const size = rows.reduce((s, row) => s + Math.abs(row[j] ?? NaN), 0);
      expect(Math.abs(rows.reduce((s, row) => s + (row[j] ?? NaN), 0) - w)).toBeLessThanOrEqual(4 * 2 ** -52 * size);
    });
    expect(got).toMatchObject({ rho: null, rule: "additive", scale: 0.75, guards: { images: [3, 3] } });
    expect(got?.sets.every((set) => set >= 1 && set <= 3)).toBe(true);
    const [swapped] = await plan([{ channel: 7, classes: [0, 2] }], o);
    expect(swapped?.parts).toEqual(rows.toReversed());
    expect(swapped?.heldOut?.score).toBe(got?.heldOut?.score);
  });

  test("the tuned rule: parts add up, swap with the classes, and can be moved apart as the additive rule's", async () => {
    const oriented = makeStudy(-1);
    const o = { rule: "tuned" as const, study: oriented };
    const [got] = await plan([{ channel: 7, classes: [2, 0] }], o);
    expect(got).toMatchObject({ rho: null, rule: "tuned", guards: { images: [3, 3] } });
    expect(got?.scale).toBe(undefined);
    const rows = must(got?.parts, "parts");
    weightsOf(oriented.meta.layer, 7).forEach((w, j) => {
      const size = rows.reduce((s, row) => s + Math.abs(row[j] ?? NaN), 0);
      expect(Math.abs(rows.reduce((s, row) => s + (row[j] ?? NaN), 0) - w)).toBeLessThanOrEqual(4 * 2 ** -52 * size);
    });
    const [swapped] = await plan([{ channel: 7, classes: [0, 2] }], o);
    rows.toReversed().forEach((row, k) => {
      row.forEach((w, j) => {
        expect(swapped?.parts?.[k]?.[j]).toBeCloseTo(w, 9);
      });
    });
    const apart = await Promise.all(
      [0.5, 1].map(async (scale) => (await plan([{ channel: 7, classes: [2, 0] }], { ...o, scale }))[0]),
    );
    expect(apart.map((p) => p?.scale)).toEqual([0.5, 1]);
    // Both halves of the difference lie along one direction.
    const e = apart.map((p) => must(p?.parts?.[0], "part").map((w, j) => w - (p?.parts?.[1]?.[j] ?? NaN)));
    e[0]?.forEach((v, j) => {
      expect(2 * v).toBeCloseTo(e[1]?.[j] ?? NaN, 9);
    });
    await expect(plan([{ channel: 7, classes: [0, 1, 2] }], o)).rejects.toMatchObject({ code: "RULE_CONCEPTS" });
  });

  test.each(["additive", "tuned"] as const)(
    "the %s rule: negated rows with their signs give negated parts",
    async (rule) => {
      const { layer: own } = study.meta;
      const perRow = own.weights.length / own.outChannels;
      const negated = {
        ...own,
        sign: own.sign.map((sign, c) => (c % 2 === 1 ? -sign : sign)),
        weights: own.weights.map((w, j) => (Math.floor(j / perRow) % 2 === 1 ? -w : w)),
      };
      const target = { channel: 7, classes: [2, 0] };
      const [plain] = await plan([target], { rule });
      const [other] = await plan([target], { rule, study: { ...study, meta: { ...study.meta, layer: negated } } });
      expect(plain?.parts).toHaveLength(2);
      plain?.parts?.forEach((row, k) => {
        row.forEach((w, j) => {
          expect(other?.parts?.[k]?.[j]).toBeCloseTo(-w, 7);
        });
      });
    },
  );

  test("rules by weights: clusters give what classes of the same images give", async () => {
    const cluster = (t: number): Cluster => ({
      name: `cluster ${t}`,
      vector: relevanceVector(geometry, must(meanTapSums(study, t), "mean"), 7, "oriented"),
      images: images.paths(t),
    });
    for (const rule of ["additive", "tuned", "additive_sets", "tuned_sets"] as const) {
      // All classes' moments are kept for the tuned rule's plants, whatever is split.
      const [byClass] = await plan([{ channel: 7, classes: [2, 0] }], { rule });
      const [byCluster] = await plan([{ channel: 7, classes: [], clusters: [2, 0].map(cluster) }], { rule });
      expect(byCluster?.parts).toEqual(byClass?.parts);
      expect(byCluster?.sets).toEqual(byClass?.sets);
      expect(byCluster?.choice).toEqual(byClass?.choice);
      expect(byCluster?.heldOut).toEqual(byClass?.heldOut);
      const guards = must(byClass?.guards, "guards");
      const why = guards.why.map((text) => text.replace(/"([ac])"/g, (_, c) => `"cluster ${c === "a" ? 0 : 2}"`));
      // k of sets pools images by concept, and classes are numbered where clusters are listed.
      expect({ ...byCluster?.guards, k: undefined }).toEqual({ ...guards, why, k: undefined });
    }
  });

  test("sets of parts by weights: rho given, those of all images; order, guards and refusals as of other sets", async () => {
    const oriented = makeStudy(-1);
    for (const rule of ["additive", "tuned"] as const) {
      const o = { rule: `${rule}_sets` as const, study: oriented, rho: 0.8 };
      const [byWeights] = await plan([{ channel: 7, classes: [2, 0] }], { rule, study: oriented });
      const [got] = await plan([{ channel: 7, classes: [2, 0] }], o);
      expect(got).toMatchObject({ rho: 0.8, rule: o.rule, guards: { images: [3, 3], k: { filters: { n: 16 } } } });
      expect(got?.parts).toBe(undefined);
      // The parts' own scale is the additive rule's default.
      expect(got?.sets).toEqual(setsByHeld(heldWeights(must(byWeights?.parts, "parts"), TAPS), 0.8));
      const [swapped] = await plan([{ channel: 7, classes: [0, 2] }], o);
      expect(swapped?.sets).toEqual(got?.sets.map((s) => ((s & 1) << 1) | (s >> 1)));
      expect(swapped?.heldOut?.score).toBe(got?.heldOut?.score);
      // Images are pooled in the order of the concepts.
      expect(swapped?.guards?.k.value).toBeCloseTo(got?.guards?.k.value ?? NaN, 9);
    }
    const [three] = await plan([{ channel: 4, classes: [0, 1, 2] }], { rule: "additive_sets", rho: 0.7 });
    const [turned] = await plan([{ channel: 4, classes: [2, 0, 1] }], { rule: "additive_sets", rho: 0.7 });
    expect(turned?.sets.map((s) => ((s << 2) & 4) | (s >> 1))).toEqual(three?.sets);
    requested.length = 0;
    await expect(plan([{ channel: 7, classes: [0, 1, 2] }], { rule: "tuned_sets" })).rejects.toMatchObject({
      code: "RULE_CONCEPTS",
      message: expect.stringContaining("2 concepts, not 3") as string,
      remedy: expect.stringContaining("additive_sets") as string,
    });
    expect(requested).toEqual([]);
  });

  test("sets of parts by weights: rho chosen on the second part, which made no parts", async () => {
    requested.length = 0;
    const o = { rule: "additive_sets", rho: "chosen" } as const;
    const [got] = await plan([{ channel: 7, classes: [2, 0] }], o);
    const expected = [0, 2].flatMap((t) => {
      const { arv, choose, report } = threeFolds(PER_CLASS[t] ?? 0);
      const later = [...choose, ...report].sort((a, b) => a - b);
      return [arv, choose, report, later].map((list) => `${t}: ${list.join()}`);
    });
    expect(requested.toSorted()).toEqual([`1: ${all(1).join()}`, ...expected].toSorted());
    const choice = must(got?.choice, "choice");
    expect(choice.criterion).toBe("held-out log ratio");
    expect(got?.rho).toBe(RHOS[choice.scores.indexOf(Math.max(...choice.scores))]);
    const [byWeights] = await plan([{ channel: 7, classes: [2, 0] }], { rule: "additive" });
    expect(got?.sets).toEqual(setsByHeld(heldWeights(must(byWeights?.parts, "parts"), TAPS), got?.rho ?? NaN));
    const [other] = await plan([{ channel: 7, classes: [0, 2] }], o);
    expect(other?.choice).toEqual(choice);
    // Unless told to choose, an input is whole the part's that holds more of it.
    expect(await plan([{ channel: 7, classes: [2, 0] }], { rule: "additive_sets" })).toMatchObject([
      { rho: 1, sets: setsByHeld(heldWeights(must(byWeights?.parts, "parts"), TAPS), 1) },
    ]);
    // Four images are one for parts, one to choose on: a spread takes two.
    const few = [0, 1].map((t): Cluster => ({
      name: `few ${t}`,
      vector: new Float64Array(CASE.inputs / 2).fill(1),
      images: images.paths(t).slice(0, 4),
    }));
    await expect(
      plan([{ channel: 7, classes: [], clusters: few }], { ...o, rule: "tuned_sets" }),
    ).rejects.toMatchObject({
      code: "RHO_IMAGES",
      message: expect.stringContaining('"few 0" has 4 images') as string,
    });
  });

  test("rules by weights: clusters across classes, and their held-out images are seen through no class", async () => {
    const vector = new Float64Array(CASE.inputs / 2).fill(1);
    const clusters: readonly Cluster[] = [
      { name: "one", vector, images: ["2/5", "0/4", "2/3", "0/2", "2/1", "0/0"] },
      { name: "two", vector, images: ["2/6", "0/5", "2/7", "0/6", "2/8", "0/7"] },
    ];
    const target = { channel: 2, classes: [], clusters };
    requested.length = 0;
    const [got] = await plan([target], { rule: "additive" });
    const report = threeFolds(6).report;
    const heldOut = new Set(clusters.flatMap((c) => report.map((k) => c.images[k])));
    expect(heldOut.size).toBe(4);
    const seen = (t: number): string => {
      const kept = all(t).filter((i) => !heldOut.has(`${t}/${i}`));
      return `${t}: ${kept.join()}`;
    };
    expect(requested.slice(0, 3)).toEqual([0, 1, 2].map(seen));
    // Both clusters without, then with those images; between the two the guards see them alone.
    const rest = [0, 1, 3, 4].join();
    expect(requested.slice(3, 7)).toEqual([
      `one: ${rest}`,
      `two: ${rest}`,
      `one: ${report.join()}`,
      `two: ${report.join()}`,
    ]);
    const whole = ["one", "two"].flatMap((name) => [`${name}: ${rest}`, `${name}: ${report.join()}`]);
    expect(requested.slice(-4)).toEqual(whole);
    expect(got?.guards?.images).toEqual([2, 2]);
    const rows = must(got?.parts, "parts");
    weightsOf(study.meta.layer, 2).forEach((w, j) => {
      const size = rows.reduce((s, row) => s + Math.abs(row[j] ?? NaN), 0);
      expect(Math.abs(rows.reduce((s, row) => s + (row[j] ?? NaN), 0) - w)).toBeLessThanOrEqual(4 * 2 ** -52 * size);
    });
    const [swapped] = await plan([{ ...target, clusters: clusters.toReversed() }], { rule: "additive" });
    expect(swapped?.parts).toEqual(rows.toReversed());
    await expect(plan([target], { rule: "official" })).rejects.toMatchObject({ code: "RULE_CONCEPTS" });
    const lone = { ...must(clusters[0], "cluster"), images: ["0/1", "0/2"] };
    await expect(
      plan([{ ...target, clusters: [lone, must(clusters[1], "cluster")] }], { rule: "additive" }),
    ).rejects.toMatchObject({
      code: "RHO_IMAGES",
      message: expect.stringContaining('"one" has 2 images') as string,
    });
  });
});
