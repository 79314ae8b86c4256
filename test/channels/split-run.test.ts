/** From pairs to splits on a small network: rho given, chosen as the original does, and chosen on held-out images. */
import { expect, test } from "vitest";
import { chooseOfficialRho, chooseRho, logRatioScore, RHOS, threeFolds } from "../../src/channels/rho.ts";
import { setsFromStudy, sourceSets } from "../../src/channels/sets.ts";
import { planSplits, type ClassImages, type SplitTarget } from "../../src/channels/split-run.ts";
import { Session } from "../../src/engine/session.ts";
import { must, UnbraidError } from "../../src/errors.ts";
import { meanTapSums, relevanceVector } from "../../src/relevance/arv.ts";
import { evidenceFolds } from "../../src/relevance/folds.ts";
import { onAdapters } from "../support/on-adapters.ts";
import {
  CASE,
  CLASSES,
  PER_CLASS,
  TAPS,
  all,
  close,
  imageOf,
  images,
  makeStudy,
  network,
  requested,
  responsesOf,
  study,
  tapSumsOf,
} from "./split-network.ts";
import { planner } from "./split-planner.ts";

onAdapters("planning splits", (gpu) => {
  const { open, momentsOf, plan } = planner(gpu);

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
