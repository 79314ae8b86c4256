/** `--memory` and the default of `--batch`: what is chosen, and that no result depends on it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { testAdapters } from "../support/gpu.ts";
import { root } from "./built.ts";
import { errorOf, jsonOf, temporaryFolder, unbraid, type Ran } from "./support.ts";

const dir = temporaryFolder();
const model = join(root, "models", "demo.onnx");
const images = join(root, "models", "images", "val");

const study = (out: string, ...rest: string[]): string[] => [
  ...["study", model, "--images", images, "--limit", "1", "--layer", "all", "--out", join(dir, out)],
  ...["--adapter", testAdapters[0] ?? "", ...rest],
];

interface Chosen {
  readonly batch: number;
  readonly gpu_bytes: number;
}

/** The note or warning that says how many images are taken at a time. */
const said = ({ stderr }: Ran): string => stderr.split("\n").find((line) => line.includes("at a time")) ?? "";

it("--memory is a number of megabytes from 1", async () => {
  for (const value of ["0", "-5", "much"])
    expect(await errorOf(...study("none.study", "--memory", value))).toMatchObject({ code: "OPTION_VALUE", exit: 2 });
});

it("values that are none are refused by commands that have no use for them, too", async () => {
  const options = [
    ["--memory", "much"],
    ["--workers", "x"],
  ] as const;
  for (const option of options)
    for (const command of [["inspect", model], ["demo"]])
      expect(await errorOf(...command, ...option)).toMatchObject({ code: "OPTION_VALUE", exit: 2 });
});

describe.skipIf(testAdapters.length === 0)("with an adapter", () => {
  it("as many images as --memory allows, each time to the same study", async () => {
    const found: { chosen: Chosen; bytes: Buffer }[] = [];
    for (const [k, memory] of [2048, 40, 12].entries()) {
      const ran = await unbraid(...study(`${k}.study`, "--memory", String(memory), "--json"));
      expect(ran.code).toBe(0);
      const chosen = jsonOf<Chosen>(ran);
      expect(said(ran)).toContain(`${chosen.batch} images at a time`);
      expect(said(ran)).toContain(`"batch":${chosen.batch}`);
      // Read-back and parameters come on top of the plan.
      expect(chosen.gpu_bytes).toBeLessThan(1.15 * memory * 2 ** 20);
      found.push({ chosen, bytes: readFileSync(join(dir, `${k}.study`)) });
    }
    const batches = found.map(({ chosen }) => chosen.batch);
    expect(batches[0]).toBe(64);
    expect(batches[1]).toBeLessThan(64);
    expect(batches[2]).toBeLessThan(batches[1] ?? 0);
    for (const { bytes } of found) expect(bytes.equals(found[0]?.bytes ?? Buffer.of())).toBe(true);
  });

  it.skipIf(testAdapters[0] !== "lavapipe")("what half precision takes is counted as such", async () => {
    const bytes = async (...rest: string[]): Promise<number> => {
      const ran = await unbraid(...study("half.study", "--json", ...rest));
      expect(ran.code).toBe(0);
      return Number(/"bytes":(\d+)/.exec(said(ran))?.[1]);
    };
    const [single, half] = [await bytes(), await bytes("--precision", "f16")];
    expect(half).toBeLessThan(single);
  });

  it("one image where not even that fits, with a warning", async () => {
    const ran = await unbraid(...study("one.study", "--memory", "1", "--json"));
    expect([ran.code, jsonOf<Chosen>(ran).batch]).toEqual([0, 1]);
    expect(said(ran)).toMatch(/warning.*1 image at a time: .* more than the .* of --memory/);
  });

  it("--batch is what is taken, whatever --memory says", async () => {
    const ran = await unbraid(...study("five.study", "--memory", "1", "--batch", "5", "--json"));
    expect([ran.code, jsonOf<Chosen>(ran).batch, said(ran)]).toEqual([0, 5, ""]);
  });
});
