import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { inOrder } from "../../src/images/in-order.ts";
import { batches } from "../../src/images/loader.ts";
import type { Batch, LoaderOptions, SkippedImage } from "../../src/images/loader.ts";
import type { ImageItem } from "../../src/images/folder.ts";
import { preprocess } from "../../src/images/preprocess.ts";
import { PRESETS } from "../../src/images/presets.ts";
import { errorOf, folderOf, pixels, png } from "./support.ts";

async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of source) all.push(one);
  return all;
}

const spec = PRESETS.cifar100;

/** n images of 6 x 5 in a folder; those of `bad` hold no image. */
async function setUp(n: number, bad: readonly number[] = []): Promise<LoaderOptions & { items: ImageItem[] }> {
  const names = Array.from({ length: n }, (_, i) => `${i}.png`);
  const files = await Promise.all(
    names.map(async (_, i) => (bad.includes(i) ? "no image" : await png(pixels(90, i), 6, 5))),
  );
  const root = folderOf(Object.fromEntries(names.map((name, i) => [name, files[i] ?? ""])));
  return { root, items: names.map((path, label) => ({ path, label })), spec, batchSize: 3 };
}

const labels = (all: readonly Batch[]): number[][] => all.map((batch) => [...batch.labels]);

describe("batches", () => {
  test("hold the preprocessed images in list order", async () => {
    const all = await collect(batches(await setUp(7)));
    expect(labels(all)).toEqual([[0, 1, 2], [3, 4, 5], [6]]);
    expect(all.map((b) => b.next)).toEqual([3, 6, 7]);
    for (const batch of all) {
      expect([batch.width, batch.height, batch.tensor.length]).toEqual([6, 5, batch.items.length * 90]);
      batch.labels.forEach((label, i) => {
        const expected = preprocess({ width: 6, height: 5, data: pixels(90, label) }, spec);
        expect(batch.tensor.slice(i * 90, (i + 1) * 90)).toEqual(expected);
      });
    }
  });

  test("are the same from any batch's next on, with bad images between", async () => {
    const options = { ...(await setUp(11, [0, 4, 5, 8, 10])), skipBad: true };
    const whole = await collect(batches(options));
    expect(labels(whole)).toEqual([
      [1, 2, 3],
      [6, 7, 9],
    ]);
    expect(labels(await collect(batches({ ...options, start: whole[0]?.next ?? 0 })))).toEqual([[6, 7, 9]]);
    expect(await collect(batches({ ...options, start: 11 }))).toEqual([]);
  });

  test("do not depend on how many are decoded at once", async () => {
    const options = await setUp(8);
    const one = await collect(batches({ ...options, concurrency: 1 }));
    expect(await collect(batches({ ...options, concurrency: 16 }))).toEqual(one);
  });

  test("skipped images are named, each once, in order, also those after the last batch", async () => {
    const seen: SkippedImage[] = [];
    const options = await setUp(9, [1, 2, 8]);
    const all = await collect(batches({ ...options, skipBad: true, onSkip: (s) => seen.push(s) }));
    expect(labels(all)).toEqual([
      [0, 3, 4],
      [5, 6, 7],
    ]);
    expect(seen.map((s) => s.item.path)).toEqual(["1.png", "2.png", "8.png"]);
    expect(seen.map((s) => s.error.code)).toEqual(["IMAGE_FORMAT", "IMAGE_FORMAT", "IMAGE_FORMAT"]);
    expect(all.map((b) => b.skipped.map((s) => s.item.path))).toEqual([["1.png", "2.png"], []]);
  });

  test("without skipBad the first bad image of the list ends it, after the batches before", async () => {
    const got: number[][] = [];
    const options = await setUp(9, [4, 8]);
    const error = await errorOf(async () => {
      for await (const batch of batches(options)) got.push([...batch.labels]);
    });
    expect(error.message).toContain("4.png");
    expect(got).toEqual([[0, 1, 2]]);
  });

  test("files that are gone are bad images too", async () => {
    const options = await setUp(2);
    options.items.push({ path: "gone.png", label: 2 });
    expect((await errorOf(() => collect(batches(options)))).code).toBe("IMAGE_UNREADABLE");
    expect(labels(await collect(batches({ ...options, skipBad: true })))).toEqual([[0, 1]]);
  });

  test("all bad is an error, not an empty result", async () => {
    const options = { ...(await setUp(2, [0, 1])), skipBad: true };
    expect((await errorOf(() => collect(batches(options)))).code).toBe("IMAGES_ALL_BAD");
  });

  test("sizes that differ within a batch are named with both files; a crop mends it", async () => {
    const root = folderOf({ "a.png": await png(pixels(90, 0), 6, 5), "b.png": await png(pixels(90, 0), 5, 6) });
    const options = { root, items: ["a.png", "b.png"].map((path, label) => ({ path, label })), spec, batchSize: 2 };
    const error = await errorOf(() => collect(batches({ ...options, skipBad: true })));
    expect(error.code).toBe("IMAGE_SIZE");
    for (const part of ["a.png is 6 x 5", "b.png is 5 x 6"]) expect(error.message).toContain(part);
    expect(error.remedy).toContain("--crop");
    expect(await collect(batches({ ...options, batchSize: 1 }))).toHaveLength(2);
    expect(await collect(batches({ ...options, spec: { ...spec, crop: 4 } }))).toMatchObject([{ width: 4, height: 4 }]);
  });

  test("an abort ends it with the signal's reason", async () => {
    const controller = new AbortController();
    const options = { ...(await setUp(9)), signal: controller.signal };
    const reason = new Error("enough");
    const got: number[][] = [];
    const run = async (): Promise<void> => {
      for await (const batch of batches(options)) {
        got.push([...batch.labels]);
        controller.abort(reason);
      }
    };
    await expect(run()).rejects.toBe(reason);
    expect(got).toEqual([[0, 1, 2]]);
  });
});

describe("inOrder", () => {
  test("runs no more at once and no further ahead than told, and gives results in order", async () => {
    let running = 0;
    let most = 0;
    let begun = 0;
    const work = async (i: number): Promise<number> => {
      begun++;
      most = Math.max(most, ++running);
      await sleep(i % 3 === 0 ? 5 : 1);
      running--;
      return i * 10;
    };
    const items = Array.from({ length: 20 }, (_, i) => i);
    let taken = 0;
    for await (const { item, result } of inOrder(items, work, { concurrency: 3, ahead: 5 })) {
      expect([item, result]).toEqual([taken, taken * 10]);
      taken++;
      expect(begun - taken).toBeLessThanOrEqual(5);
    }
    expect(taken).toBe(20);
    expect(most).toBe(3);
  });

  test("a consumer that leaves early stops the rest, after what is under way", async () => {
    let begun = 0;
    let finished = 0;
    const work = async (): Promise<void> => {
      begun++;
      await sleep(1);
      finished++;
    };
    for await (const { result } of inOrder(Array.from({ length: 50 }), work, { concurrency: 2, ahead: 10 })) {
      expect(result).toBeUndefined();
      break;
    }
    const atReturn = begun;
    expect(finished).toBe(begun);
    await sleep(10);
    expect(begun).toBe(atReturn);
    expect(begun).toBeLessThan(10);
  });
});
