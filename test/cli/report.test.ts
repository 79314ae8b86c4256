/** `unbraid report` and `visualize`, from a model to a page: what the page carries against the study's own numbers, and what is refused. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { beforeAll, describe, expect, test } from "vitest";
import { setsFromStudy, setsToText } from "../../src/channels/sets.ts";
import { must } from "../../src/errors.ts";
import { selectLayer } from "../../src/relevance/study-set.ts";
import { decodeStudy } from "../../src/relevance/study-file.ts";
import type { Interactive, Picture } from "../../src/report/data.ts";
import { ChannelModel } from "../../src/report/page/model.ts";
import { testAdapters } from "../support/gpu.ts";
import {
  CLASSES,
  errorOf,
  jsonOf,
  SIDE,
  temporaryFolder,
  unbraid,
  write,
  writeClassifier,
  writeImages,
} from "./support.ts";

const dir = temporaryFolder();
const at = (...names: string[]): string => join(dir, ...names);
const [model, study, split, images] = [at("net.onnx"), at("layer.study"), at("split.onnx"), at("images")];
const EVIL = "<img src=x onerror=alert(1)>";

interface Embedded {
  readonly channels: readonly { readonly channel: number; readonly interactive: Interactive }[];
  readonly pictures: readonly Picture[];
}

const embedded = (path: string): Embedded => {
  const [, json = ""] = /<script type="application\/json" id="data">([\s\S]*?)<\/script>/.exec(readFileSync(path, "utf8")) ?? []; // prettier-ignore
  return JSON.parse(json) as Embedded;
};

describe.skipIf(testAdapters.length === 0)("report and visualize", () => {
  const adapter = ["--adapter", testAdapters[0] ?? ""];
  const run = (...argv: string[]) => unbraid(...argv, ...adapter);
  const ok = async (...argv: string[]) => {
    const ran = await run(...argv);
    expect(ran.stderr).not.toContain("error");
    expect(ran.code).toBe(0);
    return ran;
  };
  const report = (...more: string[]): string[] => ["report", split, "--study", study, "--images", images, ...more];

  beforeAll(async () => {
    writeClassifier(model);
    write(at("net.preprocess.json"), JSON.stringify({ mean: [0.5, 0.4, 0.3], std: [0.25, 0.2, 0.3] }));
    await writeImages(images, 10);
    await ok("study", model, "--images", images, "--layer", "stem,body.conv", "--out", study);
    await ok(
      ...["split", model, "--study", study, "--layer", "body.conv", "--channel", "1", "--classes", "apple,boat"],
      ...["--channel", "4", "--classes", "boat,cat,door", "--rule", "symmetric", "--rho", "0.6"],
      ...["--images", images, "--force", "--out", split],
    );
    write(at("v.json"), (await ok("verify", model, split, "--images", images, "--json")).stdout);
    write(at("f.json"), (await ok("find", study, "--json")).stdout);
    await ok("evaluate", split, "--images", images, "--study", study, "--draws", "10", "--out", at("e.json"));
    await ok(
      ...["visualize", split, "--layer", "body.conv", "--channel", "1,4", "--pictures", "2", "--steps", "4"],
      ...["--crop", String(SIDE), "--out", at("pictures")],
    );
  }, 120_000);

  test("the page names the SHA-256 of every file that went in, and credits a paragraph a line", async () => {
    write(at("credits.txt"), "Drawn by <A>,\n  all of it.\nPhotographs: B.\n\nC.\n");
    const files = ["v.json", "f.json", "e.json", "credits.txt"] as const;
    await ok(
      ...report("--verification", at("v.json"), "--findings", at("f.json"), "--evaluation", at("e.json")),
      ...["--credits", at("credits.txt"), "--out", at("digests.html")],
    );
    const html = readFileSync(at("digests.html"), "utf8");
    for (const path of [model, split, study, at("net.preprocess.json"), ...files.map((name) => at(name))])
      expect(html).toContain(createHash("sha256").update(readFileSync(path)).digest("hex"));
    for (const line of ["Drawn by &lt;A&gt;, all of it.", "Photographs: B.", "C."])
      expect(html).toContain(`<li>${line}</li>`);
  });

  test("the page carries what the split was made of: sets at its rho, contributions that add up, pictures", async () => {
    const ran = await ok(
      ...report("--evaluation", at("e.json"), "--verification", at("v.json"), "--findings", at("f.json")),
      ...["--visualisation", at("pictures", "visualisation.json"), "--remark", "1=chosen by hand", "--json"],
      ...["--out", at("report.html")],
    );
    const json = jsonOf<{ bytes: number; images: number; findings: string[]; channels: unknown[] }>(ran);
    expect(json).toMatchObject({
      layer: "body.conv",
      images: 40,
      channels: [
        { channel: 1, concepts: ["apple", "boat"], rule: "symmetric", rho: 0.6, images: 20 },
        { channel: 4, concepts: ["boat", "cat", "door"], rho: 0.6, images: 30 },
      ],
    });
    const html = readFileSync(at("report.html"), "utf8");
    expect(json.bytes).toBe(Buffer.byteLength(html));
    for (const text of ["chosen by hand", "largest error over its own bound", "less a random partition", "stem"])
      expect(html).toContain(text);
    const { channels, pictures } = embedded(at("report.html"));
    expect(pictures.length).toBeGreaterThan(10);
    const whole = selectLayer(decodeStudy(readFileSync(study)), "body.conv");
    for (const { channel, interactive } of channels) {
      const page = new ChannelModel(interactive);
      const classes = interactive.concepts.map((name) => CLASSES.indexOf(name as (typeof CLASSES)[number]));
      for (const rho of [0, 0.35, 0.6, 1]) {
        const expected = setsFromStudy(whole, { channel, classes, rho, rule: "symmetric" });
        expect(setsToText(page.sets(rho), classes.length)).toBe(setsToText(expected, classes.length));
      }
      expect([...must(interactive.sets, "sets")]).toEqual([...page.sets(0.6)]);
      // All images of the classes are in: their mean contributions are the relevance vectors. Float32 sums of 64 positions.
      interactive.concepts.forEach((_, k) => {
        const own = page.imagesOf(k);
        page.arvs[k]?.forEach((v, i) => {
          const mean = own.reduce((sum, n) => sum + (page.contributions(n)[i] ?? NaN), 0) / own.length;
          expect(Math.abs(mean - v)).toBeLessThan(2 ** -24 * 64 * 64 * Math.max(1, Math.abs(v)));
        });
      });
    }
  });

  test("the evaluation's own means are those of the page", async () => {
    await ok(...report("--channel", "1", "--out", at("one.html")));
    const { channels } = embedded(at("one.html"));
    const { interactive } = must(channels[0], "channel");
    const page = new ChannelModel(interactive);
    const { parts } = page.responses(page.sets(0.6));
    const document = JSON.parse(readFileSync(at("e.json"), "utf8")) as {
      channels: { densities: { concept: string; of: string; mean: number }[] }[];
    };
    for (const { concept, of, mean } of document.channels[0]?.densities ?? []) {
      const k = interactive.concepts.indexOf(concept);
      const own = page.imagesOf(k);
      const row = of === "part 1" ? parts[0] : of === "part 2" ? parts[1] : undefined;
      if (row === undefined) continue;
      const got = own.reduce((sum, n) => sum + (row[n] ?? NaN), 0) / own.length;
      expect(Math.abs(got - mean)).toBeLessThan(1e-4 * Math.max(1, Math.abs(mean)));
    }
  });

  test("class names with markup are text, here as everywhere", async () => {
    const names = CLASSES.map((name, t) => (t === 0 ? EVIL.replace("/", "") : name));
    const evil = await writeImages(at("evil"), 6, names);
    await ok("study", model, "--images", evil, "--layer", "body.conv", "--out", at("evil.study"));
    await ok(
      ...["split", model, "--study", at("evil.study"), "--channel", "1", "--classes", "0,1", "--rule", "symmetric"],
      ...["--rho", "0.6", "--out", at("evil.onnx")],
    );
    await ok("report", at("evil.onnx"), "--study", at("evil.study"), "--images", evil, "--out", at("evil.html"));
    const html = readFileSync(at("evil.html"), "utf8");
    expect(html).not.toContain("<img src=x");
    expect(html).toContain("&lt;img src=x onerror=alert(1)&gt;");
  });

  test("refuses what does not belong together, and says so", async () => {
    const out = at("no.html");
    const refusal = (...more: string[]) => errorOf(...report(...more, "--out", out), ...adapter);
    writeClassifier(at("other.onnx"), 9);
    await ok("study", at("other.onnx"), "--images", images, "--layer", "body.conv", "--out", at("other.study"));
    const other = await errorOf("report", split, "--study", at("other.study"), "--images", images, "--out", out);
    expect(other).toMatchObject({ code: "STUDY_MODEL" });
    expect(other.message).toContain("other.onnx");
    expect(await errorOf("report", model, "--study", study, "--images", images, "--out", out)).toMatchObject({
      code: "SPLIT_RECORD",
    });
    expect(await refusal("--evaluation", at("v.json"))).toMatchObject({ code: "REPORT_DOCUMENT" });
    expect(await refusal("--verification", at("e.json"))).toMatchObject({ code: "REPORT_DOCUMENT" });
    expect(await refusal("--findings", at("net.preprocess.json"))).toMatchObject({ code: "REPORT_DOCUMENT" });
    expect(await refusal("--visualisation", at("e.json"))).toMatchObject({ code: "REPORT_DOCUMENT" });
    const evaluation = JSON.parse(readFileSync(at("e.json"), "utf8")) as { layer: string };
    write(at("e2.json"), JSON.stringify({ ...evaluation, layer: "stem" }));
    expect(await refusal("--evaluation", at("e2.json"))).toMatchObject({ code: "REPORT_OTHER" });
    expect(await refusal("--channel", "3")).toMatchObject({ code: "CHANNEL_NONE" });
    expect(await refusal("--remark", "chosen by hand")).toMatchObject({ code: "OPTION_VALUE" });
    expect(await refusal("--credits", at("nowhere"))).toMatchObject({ code: "REPORT_DOCUMENT" });
    expect(existsSync(out)).toBe(false);
  });

  test("images: of no concept, of too few classes, damaged", async () => {
    const out = at("no.html");
    const bad = await writeImages(at("bad"), 3);
    const refusal = (...more: string[]) =>
      errorOf("report", split, "--study", study, "--images", bad, "--out", out, ...more, ...adapter);
    write(join(bad, "apple", "1.png"), "no picture");
    const damaged = await refusal();
    expect(damaged.code).toBe("IMAGE_FORMAT");
    expect(damaged.message).toContain("1.png");
    const skipped = await ok(
      ...["report", split, "--study", study, "--images", bad, "--out", at("skipped.html"), "--skip-bad", "--json"],
    );
    expect(jsonOf<{ images: number }>(skipped).images).toBe(11);
    rmSync(join(bad, "boat"), { recursive: true });
    expect((await refusal("--skip-bad")).code).toMatch(/^IMAGES_CLASS/);
    for (const k of [0, 2]) rmSync(join(bad, "apple", `${k}.png`));
    write(at("labels.txt"), `${CLASSES.join("\n")}\n`);
    await writeImages(bad, 2, ["boat"]);
    expect(await refusal("--skip-bad", "--channel", "1", "--classes", at("labels.txt"))).toMatchObject({
      code: "REPORT_IMAGES",
    });
    write(at("few.txt"), "apple\nboat\n");
    expect((await refusal("--classes", at("few.txt"))).code).toMatch(/^(CLASSES|IMAGES)_/);
  });

  test("visualize: a picture of each row, a sheet, and how each part sees them beside random parts", async () => {
    const files = readdirSync(at("pictures")).sort();
    expect(files.filter((f) => f.startsWith("channel-1-")).length).toBe(2 * 3);
    expect(files.filter((f) => f.startsWith("channel-4-")).length).toBe(2 * 4);
    expect(files).toContain("sheet.png");
    const { width, height } = await sharp(at("pictures", "channel-1-part-2-1.png")).metadata();
    expect([width, height]).toEqual([SIDE, SIDE]);
    const document = JSON.parse(readFileSync(at("pictures", "visualisation.json"), "utf8")) as {
      channels: {
        rows: { pictures: { response: number }[] }[];
        excitement: { pictures_of: number; part: number; response: { value: number }; excess: { n: number } }[];
      }[];
    };
    const [channel] = document.channels;
    expect(channel?.excitement.map((e) => [e.pictures_of, e.part])).toEqual([0, 1, 2].flatMap((r) => [[r, 1], [r, 2]])); // prettier-ignore
    // A part's response to its own pictures, once by the ascent and once from patches: the same numbers.
    for (const k of [1, 2]) {
      const own = channel?.rows[k]?.pictures.map((p) => p.response) ?? [];
      const cell = channel?.excitement.find((e) => e.pictures_of === k && e.part === k);
      expect(cell?.response.value).toBeCloseTo(own.reduce((a, b) => a + b, 0) / own.length, 5);
      expect(cell?.excess.n).toBe(2);
    }
  });

  test("visualize: one file, whole channels of a model that is not split, and mistakes", async () => {
    const base = ["visualize", model, "--layer", "body.conv", "--steps", "2", "--crop", String(SIDE), ...adapter];
    const ran = await ok(...base.slice(0, -2), "--channel", "0", "--out", at("sheet.png"), "--json");
    expect(jsonOf<{ files: string[] }>(ran).files).toEqual([at("sheet.png")]);
    expect((await sharp(at("sheet.png")).metadata()).format).toBe("png");
    expect(await errorOf(...base, "--channel", "99", "--out", at("x"))).toMatchObject({ code: "CHANNEL_RANGE" });
    expect(await errorOf(...base, "--out", at("x"))).toMatchObject({ code: "OPTION_MISSING" });
    expect(await errorOf(...base, "--channel", "0", "--out", model)).toMatchObject({ code: "OUTPUT_UNWRITABLE" });
  });
});
