/** Driving a study: interruption, resumption, failures, with a stand-in for the GPU. */
import { describe, expect, it } from "vitest";
import { must } from "../../src/errors.ts";
import { foldsOf } from "../../src/relevance/folds.ts";
import type { PassResult } from "../../src/relevance/pass.ts";
import { runStudy, type ImageBatch, type StudyRun } from "../../src/relevance/run-study.ts";
import { encodeStudy } from "../../src/relevance/study-file.ts";
import { createSet, firstOf, type StudySet } from "../../src/relevance/study-set.ts";
import { LABELS, OUTPUTS, syntheticMeta } from "./synthetic.ts";

const { layer, ...common } = syntheticMeta({ folds: 2 });
const layers = [layer, { ...layer, name: "layer2.conv", nodeName: "layer2", output: "y" }];
const ALL = LABELS.length;
const paths = LABELS.map((_, j) => `${j}.png`);
const SUMS = 36;
/** Two variants and two taus, a word each. */
const WORDS = 4;

/** Image j has the number j in its one pixel: every sum and bit follows from it. */
const pass = (spoilt?: number): StudyRun["pass"] => ({
  start: (images) => {
    const made = layers.map((_, k) => ({
      tapSums: Float32Array.from({ length: images.length * SUMS }, (_, i) => {
        const image = images[Math.floor(i / SUMS)] ?? NaN;
        return image === spoilt && k === 1 ? NaN : (image + k) * (1 + (i % SUMS));
      }),
      relevance: new Float32Array(images.length * OUTPUTS),
      bits: Uint32Array.from({ length: images.length * WORDS }, (_, i) => (images[Math.floor(i / WORDS)] ?? 0) % 16),
    }));
    return Promise.resolve({ result: Promise.resolve<PassResult>({ logits: new Float32Array(0), layers: made }) });
  },
});

/** Batches of `size` from `start` on; position 6 cannot be read, and the last one neither. */
async function* batches(start: number, size: number, before?: (at: number) => void): AsyncGenerator<ImageBatch> {
  for (let at = start; at < ALL - 1; at += size) {
    before?.(at);
    const all = Array.from({ length: Math.min(size, ALL - 1 - at) }, (_, k) => at + k);
    const read = all.filter((j) => j !== 6);
    yield await Promise.resolve({
      tensor: Float32Array.from(read),
      labels: read.map((j) => LABELS[j] ?? -1),
      items: read.map((j) => ({ path: `${j}.png` })),
      skipped: all.filter((j) => j === 6).map(skippedAt),
      next: at + all.length,
    });
  }
}

const skippedAt = (j: number) => ({ item: { path: `${j}.png` }, error: new Error("truncated") });

async function run(set: StudySet, more: Partial<StudyRun> & { readonly size?: number } = {}): Promise<number> {
  const start = firstOf(set).done[0]?.[1] ?? 0;
  const done = await runStudy({
    ...{ set, pass: pass(), paths, folds: foldsOf(LABELS, 2), start, end: ALL },
    ...{ batches: batches(start, more.size ?? 4), allSkipped: () => [6, ALL - 1].map(skippedAt) },
    ...more,
  });
  return done.images;
}

const fresh = (): StudySet => createSet(common, layers);

describe("running a study", () => {
  it("gives the same bytes whatever the batch; skipped images at the end are done", async () => {
    const [set, other] = [fresh(), fresh()];
    expect(await run(set)).toBe(ALL - 2);
    await run(other, { size: 5 });
    expect(encodeStudy(other)).toEqual(encodeStudy(set));
    expect(firstOf(set).done).toEqual([[0, ALL]]);
    expect(firstOf(set).skipped.map((s) => s.index)).toEqual([6, ALL - 1]);
    const sums = must(set.studies[1]?.accumulators[1]?.tapSums[0], "sums").toFloat64();
    // Class 1 is positions 4 to 6: 4 in fold 0, 5 in fold 1, 6 (fold 0) was skipped. Layer 2 adds 1.
    expect(Array.from(sums.slice(0, 3))).toEqual([5, 10, 15]);
  });

  it("stopped, it saves whole batches of all layers, that of the GPU included; resumed, it ends the same", async () => {
    const whole = fresh();
    await run(whole);
    for (const stopAt of [0, 4, 8]) {
      const stop = new AbortController();
      const set = fresh();
      const saved: Uint8Array[] = [];
      const ended = run(set, {
        signal: stop.signal,
        save: (s) => saved.push(encodeStudy(s)),
        batches: batches(0, 4, (at) => {
          if (at === stopAt) stop.abort();
        }),
      });
      await expect(ended).rejects.toMatchObject({
        code: "INTERRUPTED",
        message: `stopped after ${stopAt} of ${ALL} images`,
      });
      expect(saved).toEqual([encodeStudy(set)]);
      expect(set.studies.map((s) => s.done)).toEqual(layers.map(() => (stopAt === 0 ? [] : [[0, stopAt]])));
      await run(set);
      expect(encodeStudy(set)).toEqual(encodeStudy(whole));
    }
  });

  it("saves now and then", async () => {
    let saves = 0;
    await run(fresh(), { saveSeconds: 0, save: () => saves++ });
    expect(saves).toBeGreaterThanOrEqual(1);
    saves = 0;
    await run(fresh(), { save: () => saves++ });
    expect(saves).toBe(0);
  });

  it("a number that is not finite: image and layer are named, no layer takes the batch, nothing is saved", async () => {
    const set = fresh();
    let saves = 0;
    const ended = run(set, { pass: pass(9), saveSeconds: 1000, save: () => saves++ });
    await expect(ended).rejects.toMatchObject({
      code: "NOT_FINITE",
      message: "The tap sums of 9.png at layer layer2.conv hold NaN (value 0).",
    });
    expect(set.studies.map((s) => s.done)).toEqual([[[0, 8]], [[0, 8]]]);
    expect(saves).toBe(0);
  });

  it("what batches throw comes through", async () => {
    const failing = batches(0, 4, (at) => {
      if (at === 8) throw new Error("no more");
    });
    const set = fresh();
    await expect(run(set, { batches: failing })).rejects.toThrow("no more");
  });
});
