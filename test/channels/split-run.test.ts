/** From pairs to splits on a small network: rho given, chosen as the original does, and chosen on held-out images. */
import { expect, test } from "vitest";
import { MomentPass } from "../../src/channels/moments-pass.ts";
import { heldWeights, setsByHeld } from "../../src/channels/parts.ts";
import { ResponsePass } from "../../src/channels/responses.ts";
import { chooseOfficialRho, chooseRho, logRatioScore, RHOS, threeFolds } from "../../src/channels/rho.ts";
import { setsFromStudy, sourceSets } from "../../src/channels/sets.ts";
import {
  planSplits,
  ROWS_AT_ONCE,
  type ClassImages,
  type Cluster,
  type PlannedSplit,
  type SplitRule,
  type SplitTarget,
} from "../../src/channels/split-run.ts";
import { Session } from "../../src/engine/session.ts";
import { must, UnbraidError } from "../../src/errors.ts";
import { meanTapSums, relevanceVector, weightsOf } from "../../src/relevance/arv.ts";
import { evidenceFolds } from "../../src/relevance/folds.ts";
import type { Study } from "../../src/relevance/study.ts";
import { onAdapters } from "../support/on-adapters.ts";
import {
  BATCH,
  CASE,
  CLASSES,
  PER_CLASS,
  TAPS,
  all,
  close,
  geometry,
  imageOf,
  images,
  makeStudy,
  network,
  requested,
  responsesOf,
  study,
  tapSumsOf,
} from "./split-network.ts";

onAdapters("planning splits", (gpu) => {
  const open = async (session: Session): Promise<ResponsePass> =>
    ResponsePass.open(session, {
      ...{ layer: network.layer, geometry, input: "x", imageShape: network.imageShape },
      ...{ batch: BATCH, rows: ROWS_AT_ONCE },
    });
  const { layer } = network;
  const momentsOf = (session: Session) => ({
    layer,
    open: (groups: readonly number[]) =>
      MomentPass.open(session, {
        ...{ layer, geometry, input: "x", imageShape: network.imageShape, batch: BATCH, groups },
      }),
  });
  async function plan(
    targets: readonly SplitTarget[],
    o: {
      rule?: SplitRule;
      compat?: boolean;
      study?: Study;
      rho?: number | "chosen";
      scale?: number;
      studyImages?: boolean;
    } = {},
  ): Promise<PlannedSplit[]> {
    using session = new Session(gpu(), network.graph);
    using pass = await open(session);
    const { rule = "symmetric", compat = false, rho, scale, studyImages = false } = o;
    return await planSplits({
      ...{ study: o.study ?? study, targets, rule, compat },
      ...(rho === undefined ? {} : { rho }),
      ...(scale === undefined ? {} : { scale }),
      secondPass: { pass, images, studyImages, moments: momentsOf(session) },
    });
  }

  test("as the original does: its ratio over all images", async () => {
    const target: SplitTarget = { channel: 7, classes: [0, 2] };
    const [got] = await plan([target], { rule: "official", compat: true });
    const sets = RHOS.map((rho) => setsFromStudy(study, { ...target, rho, rule: "official" }));
    const [on0, on2] = [0, 2].map((t) => responsesOf(study, 7, sets, t, all(t), 1));
    const expected = chooseOfficialRho([must(on0, "0"), must(on2, "2")]);
    expect(got?.choice?.criterion).toBe("official ratio");
    close(got?.choice?.scores, expected.scores);
    expect(got?.rho).toBe(expected.rho);
    expect(got?.sets).toEqual(sets[expected.index]);
    expect(got?.heldOut).toBe(undefined);
  });

  test.each([1, -1])("on held-out images, orientation %i", async (sign) => {
    const oriented = makeStudy(sign);
    const target: SplitTarget = { channel: 2, classes: [1, 0] };
    requested.length = 0;
    const [got] = await plan([target], { study: oriented });
    // Three disjoint thirds, of these two classes only.
    expect(requested.toSorted()).toEqual(
      [0, 1]
        .flatMap((t) => Object.values(threeFolds(PER_CLASS[t] ?? 0)).map((p: readonly number[]) => `${t}: ${p.join()}`))
        .toSorted(),
    );
    const folds = [1, 0].map((t) => ({ t, ...threeFolds(PER_CLASS[t] ?? 0) }));
    const vectors = folds.map(({ t, arv }) => {
      const sums = arv.map((i) => tapSumsOf(imageOf(t, i)));
      const mean = Float64Array.from(
        { length: CASE.inputs * TAPS },
        (_, k) => sums.reduce((s, v) => s + (v[k] ?? NaN), 0) / arv.length,
      );
      return relevanceVector(oriented.meta.layer, mean, 2, "oriented");
    });
    const sets = RHOS.map((rho) => sourceSets(vectors, rho, "symmetric"));
    const choice = chooseRho(folds.map(({ t, choose }) => responsesOf(oriented, 2, sets, t, choose, sign)));
    expect(got?.choice?.criterion).toBe("held-out log ratio");
    close(got?.choice?.scores, choice.scores);
    expect(got?.rho).toBe(choice.rho);
    // The sets themselves come from all images of the study; the score from sets that had not seen the last third.
    expect(got?.sets).toEqual(setsFromStudy(oriented, { ...target, rho: choice.rho, rule: "symmetric" }));
    const report = folds.map(({ t, report: r }) =>
      must(responsesOf(oriented, 2, [must(sets[choice.index], "sets")], t, r, sign)[0], "responses"),
    );
    const two = (r: readonly ArrayLike<number>[] | undefined) => [r?.[0] ?? [], r?.[1] ?? []] as const;
    close([got?.heldOut?.score ?? NaN], [logRatioScore(two(report[0]), two(report[1]))]);
    expect(got?.heldOut?.images).toEqual(folds.map((f) => f.report.length));
  });

  test("swapping the classes swaps the parts and nothing else", async () => {
    const [one, other] = await plan([
      { channel: 4, classes: [0, 1] },
      { channel: 4, classes: [1, 0] },
    ]);
    expect(other?.rho).toBe(one?.rho);
    expect(other?.choice).toEqual(one?.choice);
    expect(other?.heldOut?.score).toBe(one?.heldOut?.score);
    const swapped = one?.sets.map((s) => ((s & 1) << 1) | (s >> 1));
    expect(other?.sets).toEqual(swapped);
    expect(other?.sets).not.toEqual(one?.sets);
  });

  test("with the study's own images its folds are the parts, and the first is not run again", async () => {
    const folded = makeStudy(1, 5);
    const target: SplitTarget = { channel: 2, classes: [1, 0] };
    requested.length = 0;
    const [got] = await plan([target], { study: folded, studyImages: true });
    const { choose, report } = evidenceFolds(5);
    const those = (t: number, of: readonly number[]) =>
      `${t}: ${all(t)
        .filter((i) => of.includes(i % 5))
        .join()}`;
    expect(requested.toSorted()).toEqual([0, 1].flatMap((t) => [those(t, choose), those(t, report)]).toSorted());
    const arvs = [1, 0].map((t) => must(meanTapSums(folded, t, evidenceFolds(5).arv), "mean"));
    const vectors = arvs.map((mean) => relevanceVector(folded.meta.layer, mean, 2, "oriented"));
    const sets = RHOS.map((rho) => sourceSets(vectors, rho, "symmetric"));
    const positions = (t: number) => all(t).filter((i) => choose.includes(i % 5));
    const choice = chooseRho([1, 0].map((t) => responsesOf(folded, 2, sets, t, positions(t), 1)));
    close(got?.choice?.scores, choice.scores);
    expect(got?.heldOut?.images).toEqual([1, 0].map((t) => all(t).filter((i) => i % 5 === 4).length));
  });

  test("a given rho, and the sign rule, are held against their guards too, on the last part alone", async () => {
    for (const o of [{ rho: 0.4 }, { rule: "sign" as const }]) {
      requested.length = 0;
      const [got] = await plan([{ channel: 2, classes: [1, 0, 2] }], o);
      expect(requested.length).toBe(6); // the first part for relevance and the last, of three classes
      expect(got?.choice).toBe(undefined);
      expect(got?.rho).toBe(o.rho ?? null);
      expect(got?.guards?.images).toEqual([1, 0, 2].map((t) => threeFolds(PER_CLASS[t] ?? 0).report.length));
      expect(got?.guards?.activity.map((row) => row.length)).toEqual([3, 3, 3]);
      expect(got?.guards?.k.filters.n).toBe(16);
    }
  });

  test("three concepts: their order changes which part is whose, and nothing else", async () => {
    const [one] = await plan([{ channel: 4, classes: [0, 1, 2] }]);
    const [other] = await plan([{ channel: 4, classes: [2, 0, 1] }]);
    expect(other?.rho).toBe(one?.rho);
    expect(other?.choice).toEqual(one?.choice);
    expect(other?.heldOut?.score).toBe(one?.heldOut?.score);
    // Bit k of `other` is concept (k + 2) % 3 of `one`.
    const turned = other?.sets.map((s) => ((s << 2) & 4) | (s >> 1));
    expect(turned).toEqual(one?.sets);
    expect(other?.guards?.standing).toEqual([2, 0, 1].map((k) => one?.guards?.standing[k]));
  });

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

  test("the sign rule holds relevance against its mean over classes", async () => {
    const { layer } = study.meta;
    const means = CLASSES.map((t) => relevanceVector(layer, must(meanTapSums(study, t), "mean"), 4, "oriented"));
    const [got] = await planSplits({ study, targets: [{ channel: 4, classes: [1, 0] }], rule: "sign" });
    const expected = Array.from({ length: 6 }, (_, i) => {
      const centre = means.reduce((sum, v) => sum + (v[i] ?? NaN) / 3, 0);
      const above = [1, 0].map((t) => (means[t]?.[i] ?? NaN) > centre);
      return Number(above[0]) + 2 * Number(above[1]) || 3;
    });
    expect(Array.from(got?.sets ?? [])).toEqual(expected);
    expect(new Set(expected).size).toBeGreaterThan(1);
  });

  test("many targets at once, more than run together, are each what it is alone", async () => {
    const pairs = [
      [0, 1],
      [1, 2],
      [2, 0],
    ] as const;
    const targets = Array.from({ length: 13 }, (_, k): SplitTarget => ({
      channel: k % 10,
      classes: pairs[k % 3] ?? [0, 1],
    }));
    const together = await plan(targets);
    expect(together.map(({ channel, classes }) => ({ channel, classes }))).toEqual(targets);
    for (const k of [0, 5, 8, 9, 12]) expect(together[k]).toEqual((await plan([must(targets[k], "target")]))[0]);
  });

  test("an image whose responses are not finite is named", async () => {
    using session = new Session(gpu(), network.graph);
    using pass = await open(session);
    const spoilt: ClassImages = {
      count: (t) => images.count(t),
      paths: (t) => images.paths(t),
      async *batches(concept, positions) {
        for await (const batch of images.batches(concept, positions)) {
          if (concept === 1) batch.tensor[batch.tensor.length - 1] = Infinity;
          yield batch;
        }
      },
    };
    const targets = [{ channel: 4, classes: [0, 1] }];
    for (const rule of ["symmetric", "additive"] as const) {
      const planned = planSplits({
        ...{ study: makeStudy(1, 5), targets, rule },
        secondPass: { pass, images: spoilt, studyImages: true, moments: momentsOf(session) },
      });
      await expect(planned).rejects.toMatchObject({
        code: "NOT_FINITE",
        message: expect.stringContaining(" 1/") as string,
      });
    }
  });

  test("what cannot be chosen fails before an image is read", async () => {
    const error = (targets: readonly SplitTarget[]): Promise<unknown> =>
      plan(targets).then(
        () => "accepted",
        (e: unknown) => (e instanceof UnbraidError ? e.code : e),
      );
    requested.length = 0;
    expect(await error([{ channel: 99, classes: [0, 1] }])).toBe("CHANNEL_RANGE");
    expect(await error([{ channel: 1, classes: [0, 3] }])).toBe("CLASS_RANGE");
    expect(await error([{ channel: 1, classes: [1, 1] }])).toBe("CLASS_RANGE");
    expect(requested).toEqual([]);
  });
});

test("with rho given no image is needed; without it images are", async () => {
  const target: SplitTarget = { channel: 3, classes: [0, 2] };
  const [got] = await planSplits({ study, targets: [target], rule: "symmetric", rho: 0.35 });
  expect(got).toEqual({
    ...target,
    rho: 0.35,
    rule: "symmetric",
    sets: setsFromStudy(study, { ...target, rho: 0.35, rule: "symmetric" }),
    guards: null,
  });
  await expect(planSplits({ study, targets: [target], rule: "symmetric" })).rejects.toMatchObject({
    code: "RHO_NEEDS_IMAGES",
  });
});
