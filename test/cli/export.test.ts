/** `unbraid export`: what NumPy reads of it is checked by examples/python in CI; here, names, shapes and numbers. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { unzipSync } from "fflate";
import { beforeAll, describe, expect, it } from "vitest";
import { parseNpy } from "../../src/cli/npy.ts";
import { AverageRelevance } from "../../src/relevance/arv.ts";
import { decodeStudy, encodeStudy } from "../../src/relevance/study-file.ts";
import { selectLayer } from "../../src/relevance/study-set.ts";
import { accumulate } from "../../src/relevance/accumulate.ts";
import { countsOf, imagesOf, type Study } from "../../src/relevance/study.ts";
import { batchOf, emptyStudy, LABELS } from "../relevance/synthetic.ts";
import { errorOf, temporaryFolder, unbraid } from "./support.ts";

describe("export", () => {
  const folder = temporaryFolder();
  const [studyFile, npz, csv] = ["a.study", "a.npz", "a.csv"].map((f) => join(folder, f)) as [string, string, string];
  let study: Study;
  beforeAll(() => {
    const made = emptyStudy({ folds: 2 });
    accumulate(made, batchOf(0, LABELS.length, [], 2));
    writeFileSync(studyFile, encodeStudy({ studies: [made] }));
    study = selectLayer(decodeStudy(readFileSync(studyFile)));
  });
  const arrays = () =>
    new Map(Object.entries(unzipSync(readFileSync(npz))).map(([name, bytes]) => [name.replace(/\.npy$/, ""), bytes]));
  const array = (name: string) => parseNpy(arrays().get(name) ?? new Uint8Array(0), name);

  it("writes a study's arrays", async () => {
    expect((await unbraid("export", studyFile, "--npz", npz, "--channel", "1,0")).code).toBe(0);
    const { layer, classes, taus, folds } = study.meta;
    const taps = layer.kernel[0] * layer.kernel[1];
    const important = array("important");
    expect(important.shape).toEqual([taus.length, classes.length, layer.outChannels]);
    expect([...important.data]).toEqual(
      taus.flatMap((_, k) => classes.flatMap((__, t) => [...countsOf(study, "exact", k, t)])),
    );
    expect(array("images").shape).toEqual([classes.length, folds]);
    expect(Array.from(array("images").data).reduce((a, b) => a + b, 0)).toBe(
      classes.reduce((n, _, t) => n + imagesOf(study, t), 0),
    );
    expect(array("tap_sums").shape).toEqual([classes.length, folds, layer.inChannels, taps]);
    expect([...array("weights").data]).toEqual([...layer.weights]);
    expect([...array("channels").data]).toEqual([1, 0]);
    const arvs = array("arvs");
    expect(arvs.shape).toEqual([2, classes.length, layer.inChannels / layer.groups]);
    const expected = new AverageRelevance(study).vector(1, 0, "oriented") ?? new Float64Array(0);
    expect([...arvs.data.subarray(0, expected.length)]).toEqual([...Float32Array.from(expected)]);
  });

  it("the same study gives the same file", async () => {
    const again = join(folder, "b.npz");
    for (const file of [npz, again]) await unbraid("export", studyFile, "--npz", file);
    expect(readFileSync(again).equals(readFileSync(npz))).toBe(true);
  });

  it("writes a table of the channels that were important", async () => {
    expect((await unbraid("export", studyFile, "--csv", csv)).code).toBe(0);
    const [header, ...rows] = readFileSync(csv, "utf8").trimEnd().split("\n");
    expect(header).toBe("channel,class,class_name,tau,important,images");
    const important = study.meta.taus.flatMap((_, k) =>
      study.meta.classes.flatMap((__, t) => [...countsOf(study, "exact", k, t)]),
    );
    expect(rows).toHaveLength(important.filter((n) => n > 0).length);
  });

  it("writes the measures and lists of an evaluation", async () => {
    const evaluation = join(folder, "evaluation.json");
    writeFileSync(
      evaluation,
      JSON.stringify({
        parts: [{ auroc: { value: 0.75, low: 0.5, high: 1, n: 8 }, none: { value: null }, x: [1, 2, 3] }],
      }),
    );
    expect((await unbraid("export", evaluation, "--csv", csv, "--npz", npz)).code).toBe(0);
    expect(readFileSync(csv, "utf8")).toBe("name,value,low,high,n\nparts.0.auroc,0.75,0.5,1,8\nparts.0.none,,,,\n");
    expect([...array("parts.0.auroc").data]).toEqual([0.75, 0.5, 1, 8]);
    expect([...array("parts.0.x").data]).toEqual([1, 2, 3]);
  });

  it("says what it cannot do", async () => {
    expect(await errorOf("export", studyFile)).toMatchObject({ code: "OPTION_MISSING", exit: 2 });
    const beyond = await errorOf("export", studyFile, "--npz", npz, "--channel", "999");
    expect(beyond.code).toBe("CHANNEL_RANGE");
    expect(beyond.message).toContain("999");
    const other = join(folder, "other.json");
    writeFileSync(other, "[]");
    expect((await errorOf("export", other, "--csv", csv)).code).toBe("EVALUATION_FORMAT");
    writeFileSync(other, "{");
    expect((await errorOf("export", other, "--npz", npz)).code).toBe("EVALUATION_FORMAT");
  });
});
