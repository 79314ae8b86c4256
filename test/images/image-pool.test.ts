/** Threads that prepare images, compiled as they ship: the same bits, the same errors, and ends that are noticed. */
import { beforeAll, describe, expect, test } from "vitest";
import { UnbraidError } from "../../src/errors.ts";
import type { ImageItem } from "../../src/images/folder.ts";
import { corrupt, isBadImage } from "../../src/images/image-errors.ts";
import { ImagePool, usualThreads } from "../../src/images/image-pool.ts";
import { batches, type LoaderOptions } from "../../src/images/loader.ts";
import { prepareImage, type PrepareTask } from "../../src/images/prepare.ts";
import { PRESETS } from "../../src/images/presets.ts";
import { build } from "../cli/built.ts";
import { errorOf, folderOf, pixels, png } from "./support.ts";

beforeAll(build, 120_000);

const spec = { ...PRESETS.imagenet, resize: 7, crop: 6 };

/** Images of many sizes, among them one that is none, one cut short, and one that is not there. */
async function folder(n: number): Promise<{ root: string; items: ImageItem[] }> {
  const names = Array.from({ length: n }, (_, i) => `${i}.png`);
  const files = await Promise.all(
    names.map(async (_, i) => png(pixels(3 * (5 + (i % 7)) * (4 + (i % 5)), i), 5 + (i % 7), 4 + (i % 5))),
  );
  const root = folderOf({
    ...Object.fromEntries(names.map((name, i) => [name, files[i] ?? ""])),
    "text.png": "no image",
    "cut.png": (files[0] ?? new Uint8Array()).subarray(0, 60),
  });
  const all = [...names.slice(0, 5), "text.png", "gone.png", ...names.slice(5), "cut.png"];
  return { root, items: all.map((path, label) => ({ path, label })) };
}

/** All that batches give, in a form that can be compared bit for bit. */
async function collect(options: LoaderOptions) {
  const all = [];
  for await (const { tensor, labels, items, skipped, next } of batches(options))
    all.push({ tensor: [...new Uint32Array(tensor.slice().buffer)], labels: [...labels], items, next, skipped: skipped.map(({ item, error }) => [item.path, fields(error)]) }); // prettier-ignore
  return all;
}

const fields = ({ kind, code, message, remedy }: UnbraidError) => ({ kind, code, message, remedy });

describe("a pool of image threads", () => {
  test.each([1, 2, 3])("of %i gives the main thread's bits, order and skipped images", async (threads) => {
    const options = { ...(await folder(23)), spec, batchSize: 4, skipBad: true };
    const expected = await collect(options);
    expect(expected.flatMap((b) => b.skipped)).toHaveLength(3);
    using pool = new ImagePool(threads);
    expect(await collect({ ...options, pool })).toEqual(expected);
    expect(await collect({ ...options, pool, concurrency: 9, start: 8 })).toEqual(
      await collect({ ...options, start: 8 }),
    );
  });

  test("gives the main thread's errors, in list order", async () => {
    const { root, items } = await folder(6);
    using pool = new ImagePool(2);
    const all: [string, Partial<PrepareTask>][] = [
      ["text.png", {}],
      ["cut.png", {}],
      ["gone.png", {}],
      ["0.png", { maxPixels: 3 }],
      ["0.png", { spec: { ...spec, crop: 10_000 } }],
    ];
    for (const [path, rest] of all) {
      const task = { root, path, spec, ...rest };
      const error = await errorOf(() => pool.prepare(task));
      expect(error).toBeInstanceOf(UnbraidError);
      expect(error.message).toContain(path);
      expect(fields(error)).toEqual(fields(await errorOf(() => prepareImage(task))));
    }
    const options = { root, items, spec, batchSize: 2, pool };
    expect((await errorOf(() => collect(options))).message).toContain("text.png");
  });

  test("a fault of our own comes back as one, with the thread's stack", async () => {
    const { root } = await folder(1);
    using pool = new ImagePool(1);
    const broken = { ...spec, resize: -1 };
    await expect(pool.prepare({ root, path: "0.png", spec: broken })).rejects.toThrow(/thread[^]*at .*preprocess/);
  });

  test("hands pixels over: a buffer of their own, no larger than they are", async () => {
    const { root } = await folder(1);
    using pool = new ImagePool(1);
    const { data, width, height } = await pool.prepare({ root, path: "0.png", spec });
    expect([data.byteOffset, data.buffer.byteLength]).toEqual([0, 4 * 3 * width * height]);
  });

  test("an abort ends images that are under way with its reason, and later ones", async () => {
    const { root } = await folder(1);
    const controller = new AbortController();
    using pool = new ImagePool(2, controller.signal);
    const task = { root, path: "0.png", spec };
    const asked = Array.from({ length: 20 }, () => pool.prepare(task));
    const reason = new Error("enough");
    controller.abort(reason);
    for (const one of await Promise.allSettled(asked)) expect(one).toEqual({ status: "rejected", reason });
    await expect(pool.prepare(task)).rejects.toBe(reason);
    using late = new ImagePool(1, controller.signal);
    expect(late.size).toBe(0);
    await expect(late.prepare(task)).rejects.toBe(reason);
    const options = { root, items: [{ path: "0.png", label: 0 }], spec, batchSize: 1, pool: late };
    await expect(collect(options)).rejects.toBe(reason);
  });

  test("a task that cannot be sent is refused, and counts no longer", async () => {
    const { root } = await folder(1);
    using pool = new ImagePool(1);
    const uncloneable = Object.assign({ ...spec }, { resize: (() => 1) as unknown as number });
    await expect(pool.prepare({ root, path: "lost.png", spec: uncloneable })).rejects.toThrow(/clone/);
    await expect(pool.prepare({ root, path: "0.png", spec })).resolves.toBeDefined();
  });

  test("of no threads it prepares here; other numbers are refused", async () => {
    const { root } = await folder(1);
    using pool = new ImagePool(0);
    const task = { root, path: "0.png", spec };
    expect(await pool.prepare(task)).toEqual(await prepareImage(task));
    for (const threads of [-1, 1.5, 65, NaN]) expect(() => new ImagePool(threads)).toThrow(RangeError);
  });

  test("grows, and never shrinks", () => {
    using pool = new ImagePool(1);
    pool.grow(3);
    pool.grow(2);
    expect([pool.size, pool.concurrency]).toEqual([3, 6]);
  });
});

test("memory that decoders lack is no fault of the image, which --skip-bad must not leave out", () => {
  const lacking = corrupt("a.png", new Error("vips_image_write_to_memory: out of memory -- size == 183MB"));
  expect([lacking.code, isBadImage(lacking)]).toEqual(["IMAGE_MEMORY", false]);
  expect(lacking.remedy).toContain("--workers");
  expect(isBadImage(corrupt("a.png", new Error("premature end of file")))).toBe(true);
});

test("threads by cores and images: none for few images or two cores", () => {
  const of = (cores: number, images: number): number => usualThreads(cores, images);
  expect([of(1, 1e6), of(2, 1e6), of(3, 1e6), of(4, 1e6), of(64, 1e6)]).toEqual([0, 0, 2, 3, 5]);
  expect([of(16, 0), of(16, 249), of(16, 250), of(16, 600), of(16, 1300)]).toEqual([0, 0, 1, 2, 5]);
});
