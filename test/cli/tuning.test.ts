/** --tune: its file, and that nothing but time depends on it. */
import { readdirSync, readFileSync, writeFileSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { readTuning, tuneMode, tuningFile, tuningKey, writeTuning } from "../../src/cli/tuning.ts";
import { testAdapters } from "../support/gpu.ts";
import { errorOf, SIDE, temporaryFolder, unbraid, write, writeClassifier } from "./support.ts";
import { png } from "../images/support.ts";

const driver = { vendor: "v", architecture: "a", device: "d", description: "driver 1" };
const adapter = { name: "an adapter", driver, software: true };
const gpu = { subgroups: 8, workgroupBytes: 32768 };
const key = tuningKey(adapter, gpu, "code");
const layers = { "a layer": { 784: "a tile" } };

describe("the file of --tune", () => {
  const dir = temporaryFolder();

  it("keeps what was measured, and adds to it", () => {
    const path = tuningFile(key, join(dir, "new", "folder"));
    writeTuning(path, key, layers);
    expect(readTuning(path, key)).toEqual(layers);
    writeTuning(path, key, { another: { 1: "b" } });
    expect(readTuning(path, key)).toEqual({ ...layers, another: { 1: "b" } });
  });

  it("is another for other code, adapters, drivers and processors", () => {
    const keys = [
      key,
      tuningKey(adapter, gpu, "other code"),
      tuningKey({ ...adapter, name: "another" }, gpu, "code"),
      tuningKey({ ...adapter, driver: { ...driver, description: "driver 2" } }, gpu, "code"),
      tuningKey({ ...adapter, software: false }, gpu, "code"),
      tuningKey(adapter, { ...gpu, subgroups: 4 }, "code"),
      tuningKey(adapter, gpu),
      tuningKey(adapter, { ...gpu, subgroups: 32 }),
    ];
    expect(new Set(keys.map((k) => tuningFile(k, dir))).size).toBe(keys.length);
    expect(tuningFile(tuningKey(adapter, gpu, "code"), dir)).toBe(tuningFile(key, dir));
  });

  it("is ignored where it is damaged, foreign or not there, and then replaced", () => {
    const path = tuningFile(key, join(dir, "damaged"));
    expect(readTuning(path, key)).toEqual({});
    mkdirSync(dirname(path), { recursive: true });
    const whole = { format: "unbraid tuning 1", key, layers };
    for (const text of [
      "",
      "{",
      "null",
      "[]",
      JSON.stringify(whole).slice(0, -9),
      JSON.stringify({ ...whole, format: "unbraid tuning 0" }),
      JSON.stringify({ ...whole, key: { ...key, code: "other" } }),
      JSON.stringify({ ...whole, layers: { a: 1 } }),
      JSON.stringify({ ...whole, layers: { a: { 4: 5 } } }),
    ]) {
      writeFileSync(path, text);
      expect(readTuning(path, key), text).toEqual({});
    }
    writeTuning(path, key, layers);
    expect(readTuning(path, key)).toEqual(layers);
  });

  it("has three modes", async () => {
    expect(tuneMode({ text: () => undefined })).toBe("off");
    expect(tuneMode({ text: () => "full" })).toBe("full");
    const error = await errorOf("classify", "model.onnx", "image.png", "--tune", "twice");
    expect(error).toMatchObject({ code: "OPTION_VALUE", exit: 2 });
    expect(error.message).toContain("off, once, full");
  });
});

describe.skipIf(testAdapters.length === 0)("--tune", () => {
  const dir = temporaryFolder();
  const cache = join(dir, "cache");
  beforeAll(() => {
    vi.stubEnv("XDG_CACHE_HOME", cache);
  });
  afterAll(() => {
    vi.unstubAllEnvs();
  });

  it("measures once, or anew, and the answer stays what it was", async () => {
    const model = writeClassifier(join(dir, "model.onnx"));
    const pixels = Uint8Array.from({ length: SIDE * SIDE * 3 }, (_, i) => (i * 37) % 256);
    const image = write(join(dir, "image.png"), await png(pixels, SIDE, SIDE));
    const classify = (...argv: string[]) =>
      unbraid("classify", model, image, "--adapter", testAdapters[0] ?? "", "--crop", `${SIDE}`, "--json", ...argv);
    const off = await classify();
    expect(off.code, off.stderr).toBe(0);
    const tuned = (text: string): boolean => text.includes('"tuning"');
    const ran = [await classify("--tune", "once"), await classify("--tune", "once"), await classify("--tune", "full")];
    expect(ran.map((r) => tuned(r.stderr))).toEqual([true, false, true]);
    for (const r of ran) expect(r.stdout).toBe(off.stdout);
    const folder = join(cache, "unbraid");
    const [file, ...others] = readdirSync(folder).filter((name) => name.startsWith("tuning-"));
    expect(others).toEqual([]);
    expect(readFileSync(join(folder, file ?? ""), "utf8")).toContain("pixels");
    writeFileSync(join(folder, file ?? ""), "damaged");
    const after = await classify("--tune", "once");
    expect([after.code, after.stdout, tuned(after.stderr)]).toEqual([0, off.stdout, true]);
  }, 300_000);
});
