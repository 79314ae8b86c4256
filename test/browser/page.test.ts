/** The example page in a real browser: from files to a report, the same bytes as the command line, and what can go wrong. */
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildPage } from "../../examples/browser/build.mjs";
import { serve } from "../../examples/browser/serve.mjs";
import { must } from "../../src/errors.ts";
import { assertSameSet } from "../../src/relevance/merge.ts";
import { decodeStudy } from "../../src/relevance/study-file.ts";
import { jsonOf, unbraid } from "../cli/support.ts";
import { testAdapters } from "../support/gpu.ts";
import { externalModel } from "./external-model.ts";
import { chromiumPath, faultsOf, launch, temporaryFolder } from "./support.ts";

const MODELS = fileURLToPath(new URL("../../models", import.meta.url));
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** Six of the hundred classes, six pictures each: as few as rho can be chosen on. */
const CLASSES = ["balloon", "bus", "carrot", "key", "light-bulb", "panda"];
const EVIL = "<img src=x onerror=alert(1)>";

const work = temporaryFolder();
const model = join(work, "demo.onnx");
const images = join(work, "pictures");
const beside = ["demo.preprocess.json", "demo-labels.json"].map((name) => join(work, name));
const [, labels = ""] = beside;
const studyPath = join(work, "demo.study");

let browser: Browser | undefined;
let server: Awaited<ReturnType<typeof serve>> | undefined;
let context: BrowserContext | undefined;

beforeAll(async () => {
  if (chromiumPath === undefined) return;
  for (const path of [model, ...beside]) cpSync(path.replace(work, MODELS), path);
  for (const name of CLASSES) {
    mkdirSync(join(images, name), { recursive: true });
    const from = `${MODELS}/images/train/${name}`;
    for (const file of readdirSync(from).sort().slice(0, 6)) cpSync(`${from}/${file}`, join(images, name, file));
  }
  server = await serve(await buildPage(join(work, "page")));
  browser = await launch();
  context = await browser.newContext({ viewport: { width: 1100, height: 800 }, acceptDownloads: true });
}, 120_000);

afterAll(async () => {
  await browser?.close();
  await server?.close();
});

interface Open extends AsyncDisposable {
  readonly page: Page;
  /** Errors on the console and thrown: none is expected. */
  readonly faults: readonly string[];
}

/** A new page that has found its adapter. @param before is put before the worker's script */
async function open(before = ""): Promise<Open> {
  const page = await must(context, "context").newPage();
  const faults = faultsOf(page);
  page.setDefaultTimeout(60_000);
  if (before !== "")
    await page.route("**/worker.js", async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, body: `${before}\n${await response.text()}` });
    });
  await page.goto(must(server, "server").url);
  await page.locator("#adapter", { hasText: "Runs on" }).waitFor();
  return { page, faults, [Symbol.asyncDispose]: () => page.close() };
}

/** Hands over the network and the pictures, as the two buttons do. */
async function give(page: Page, files: readonly string[] = [model, ...beside], folder = images): Promise<void> {
  await page.setInputFiles("#files", files);
  await page.locator("#network-facts dt").first().waitFor();
  await page.setInputFiles("#folder", folder);
  await page.locator("#picture-facts dt").first().waitFor();
}

async function submit(page: Page, step: string): Promise<void> {
  await page.locator(`#${step}-form button[type=submit]:enabled`).click();
  await page.locator(`#${step}-progress > *`).waitFor({ state: "detached", timeout: 120_000 });
}

/** Pairs of classes of any cosine: six pictures a class are too few for a null. */
async function findAll(page: Page): Promise<void> {
  await page.selectOption("#find-form [name=rule]", "gamma");
  await page.fill("#find-form [name=gamma]", "1");
  await submit(page, "find");
}

async function downloaded(page: Page, button: string): Promise<{ name: string; bytes: Buffer }> {
  const coming = page.waitForEvent("download");
  await page.getByRole("button", { name: button }).click();
  const file = await coming;
  return { name: file.suggestedFilename(), bytes: readFileSync(await file.path()) };
}

/** What axe-core objects to, by its rules for WCAG and its own best practices. */
async function violations(page: Page): Promise<unknown> {
  await page.addScriptTag({ content: AXE });
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as {
      axe: { run(options: object): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> };
    };
    const found = await axe.run({ iframes: false });
    return found.violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html).slice(0, 3)]);
  });
}

/** Pixels by which the page is wider than the window. */
const overflow = (page: Page): Promise<number> =>
  page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");

describe.skipIf(chromiumPath === undefined)("the page (skipped without Chromium)", () => {
  it("is usable before anything is open: no violation, no sideways scrolling on a phone, light and dark", async () => {
    await using opened = await open();
    const { page, faults } = opened;
    expect(await violations(page)).toEqual([]);
    await page.emulateMedia({ colorScheme: "dark" });
    expect(await violations(page)).toEqual([]);
    await page.setViewportSize({ width: 360, height: 740 });
    expect(await overflow(page)).toBeLessThanOrEqual(0);
    expect(faults).toEqual([]);
  });

  it("from files to a report: classify, study, find, split, verify", async () => {
    await using opened = await open();
    const { page, faults } = opened;
    await give(page);
    expect(await page.textContent("#network-facts")).toContain("93 nodes, 28 convolutions of which all can be split");
    expect(await page.textContent("#picture-facts")).toContain("36 pictures");

    await page.fill("#classify-form [name=count]", "4");
    await submit(page, "classify");
    expect(await page.locator("#classify-result > li").count()).toBe(4);

    await submit(page, "study");
    expect(await page.textContent("#study-result p")).toContain("36 pictures of 6 classes at layer3.2.conv3");
    await findAll(page);
    // One channel, to be short: heat maps are gradients down to the pictures.
    const boxes = page.locator("#find-result input[type=checkbox]:checked");
    while ((await boxes.count()) > 1) await boxes.last().uncheck();
    await submit(page, "split");
    const { name, bytes } = await downloaded(page, "Download the split network");
    expect(name).toBe("demo.split.onnx");
    expect(bytes.length).toBeGreaterThan(readFileSync(model).length);

    await submit(page, "report");
    expect(await page.textContent("#report-result .holds")).toContain("computes the same function");
    expect(await page.textContent("#report-result .holds")).toContain("0 of 36 pictures change");
    const report = page.frameLocator("iframe");
    await report.getByRole("heading", { level: 1 }).waitFor();
    // The report's own script runs in its frame and draws.
    await report.locator(".live svg").first().waitFor();
    const html = (await downloaded(page, "Download the report")).bytes.toString();
    expect(html).toContain("What the channels of demo.onnx answer to");

    expect(await violations(page)).toEqual([]);
    await page.emulateMedia({ colorScheme: "dark" });
    expect(await violations(page)).toEqual([]);
    await page.setViewportSize({ width: 360, height: 740 });
    expect(await overflow(page)).toBeLessThanOrEqual(0);
    expect(faults).toEqual([]);
  });

  it.skipIf(testAdapters.length === 0)(
    "gives what the command line gives: classes, study and split file (skipped without an adapter in Node)",
    async () => {
      const made = await unbraid(
        ...["study", model, "--images", images, "--classes", labels, "--layer", "last", "--out", studyPath],
      );
      expect(made.code, made.stderr).toBe(0);
      await using opened = await open();
      const { page, faults } = opened;
      await give(page);

      await page.fill("#classify-form [name=count]", "36");
      await submit(page, "classify");
      const shown = await page.locator("#classify-result > li").allInnerTexts();
      const ran = await unbraid("classify", model, images, "--json");
      const rows = jsonOf<{ image: string; top: { label: string; probability: number }[] }[]>(ran);
      expect(shown.length).toBe(rows.length);
      for (const { image, top } of rows) {
        const mine = must(
          shown.find((text) => image.endsWith(text.split("\n")[0] ?? "?")),
          image,
        );
        expect(mine.split("\n").slice(1, 2)).toEqual([top[0]?.label]);
      }

      // The page's study of the same pictures could be added to the command line's: same model, list, settings.
      await submit(page, "study");
      const there = decodeStudy((await downloaded(page, "Download the study")).bytes);
      const here = decodeStudy(readFileSync(studyPath));
      expect(() => {
        assertSameSet(there, here);
      }).not.toThrow();

      // Of the very same study, the split is the very same file.
      await page.setInputFiles("#files", studyPath);
      await page.locator("#study-result p:not(.buttons)", { hasNotText: " in " }).waitFor();
      await findAll(page);
      const boxes = page.locator("#find-result input[type=checkbox]");
      const chosen = await boxes.evaluateAll((all) =>
        (all as unknown as { checked: boolean; ariaLabel: string }[]).filter((b) => b.checked).map((b) => b.ariaLabel),
      );
      expect(chosen.length).toBeGreaterThan(0);
      await page.selectOption("#split-form [name=how]", "fixed");
      await page.fill("#split-form [name=rho]", "0.5");
      await submit(page, "split");
      const mine = await downloaded(page, "Download the split network");
      const manifest = await downloaded(page, "Download the manifest");
      const targets = chosen.flatMap((label) => {
        const [, channel = "", one = "", two = ""] = /channel (\d+) between (.+) and (.+)$/.exec(label) ?? [];
        return ["--channel", channel, "--classes", `${one},${two}`];
      });
      const out = join(work, "demo.split.onnx");
      const split = await unbraid("split", model, "--study", studyPath, ...targets, "--rho", "0.5", "--out", out);
      expect(split.code, split.stderr).toBe(0);
      expect(Buffer.compare(mine.bytes, readFileSync(out))).toBe(0);
      expect(manifest.bytes.toString()).toBe(readFileSync(join(work, "demo.split.split.json"), "utf8"));
      expect(faults).toEqual([]);
    },
  );

  it("takes a folder that is dropped, and a network with a data file", async () => {
    await using opened = await open();
    const { page, faults } = opened;
    const folder = join(work, "external");
    mkdirSync(folder);
    const { model: small, data } = externalModel(readFileSync(model), "weights.bin");
    writeFileSync(join(folder, "external.onnx"), small);
    writeFileSync(join(folder, "weights.bin"), data);
    await page.setInputFiles("#files", [join(folder, "external.onnx"), ...beside]);
    await page.locator("#open-progress .error", { hasText: "EXTERNAL_DATA" }).waitFor();
    expect(await page.textContent("#open-progress .error")).toContain("weights.bin");

    const session = await must(context, "context").newCDPSession(page);
    const drop = async (...files: string[]): Promise<void> => {
      const where = { x: 300, y: 300, data: { items: [], files, dragOperationsMask: 1 } };
      for (const type of ["dragEnter", "dragOver", "drop"] as const)
        await session.send("Input.dispatchDragEvent", { type, ...where });
    };
    await drop(join(folder, "external.onnx"), join(folder, "weights.bin"), ...beside, images);
    await page.locator("#picture-facts dt").first().waitFor();
    await page.locator("#network-facts dt").first().waitFor();
    expect(await page.textContent("#picture-facts")).toContain("6 classes");
    await page.fill("#classify-form [name=count]", "6");
    await submit(page, "classify");
    // Of each class one: the network knows its training pictures.
    const best = await page.locator("#classify-result ol li:first-child .label").allInnerTexts();
    expect(best.sort()).toEqual(CLASSES);
    expect(faults).toEqual([]);
  });

  it("works by keyboard alone, and hands the focus back", async () => {
    await using opened = await open();
    const { page } = opened;
    await page.keyboard.press("Tab");
    expect(await page.evaluate("document.activeElement.textContent")).toBe("Skip to the first step");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    expect(await page.evaluate("document.activeElement.id")).toBe("demo");
    await page.keyboard.press("Enter");
    await page.locator("#network-facts dt").first().waitFor();
    expect(await page.textContent("#picture-facts")).toContain("1,000 pictures");
    await page.locator("#classify-form [name=count]:enabled").focus();
    await page.keyboard.press("ControlOrMeta+a");
    await page.keyboard.type("2");
    await page.keyboard.press("Enter");
    await page.locator("#classify-result > li").nth(1).waitFor();
    await page.locator("#classify-progress > *").waitFor({ state: "detached" });
    await expect.poll(() => page.evaluate("document.activeElement.name")).toBe("count");
  });

  it("stops when it is told to, and goes on", async () => {
    await using opened = await open();
    const { page, faults } = opened;
    await give(page);
    await page.locator("#study-form button[type=submit]:enabled").click();
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.locator("#study-progress", { hasText: "Stopped." }).waitFor();
    expect(await page.locator("#study-result > *").count()).toBe(0);
    await submit(page, "classify");
    expect(await page.locator("#classify-result > li").count()).toBe(8);
    expect(faults).toEqual([]);
  });

  it("a device that is lost is said, and another one is opened", async () => {
    const keep =
      "const ask = GPUAdapter.prototype.requestDevice; GPUAdapter.prototype.requestDevice = async function (...args) {" +
      "const device = await ask.apply(this, args); (globalThis.devices ??= []).push(device); return device; };";
    await using opened = await open(keep);
    const { page } = opened;
    await give(page);
    await page.locator("#study-form button[type=submit]:enabled").click();
    await page.locator("#study-progress progress").waitFor();
    const [worker] = page.workers();
    await must(worker, "worker").evaluate("globalThis.devices.at(-1).destroy()");
    const error = page.locator("#study-progress .error");
    await error.waitFor();
    expect(await error.textContent()).toContain("DEVICE_LOST");
    expect(await error.textContent()).toContain("a new device is opened");
    expect(await violations(page)).toEqual([]);
    await page.getByRole("button", { name: "Try again" }).click();
    await page.locator("#study-result p", { hasText: "36 pictures" }).waitFor();
    expect(await must(worker, "worker").evaluate("globalThis.devices.length")).toBe(2);
  });

  it("what is no network, and pictures that fit none, are refused with what to do; names are never markup", async () => {
    await using opened = await open();
    const { page, faults } = opened;
    const bad = join(work, "bad.onnx");
    writeFileSync(bad, "this is no protobuf");
    await page.setInputFiles("#files", bad);
    await page.locator("#open-progress .error", { hasText: "ONNX" }).waitFor();

    const names = JSON.parse(readFileSync(labels, "utf8")) as string[];
    const evil = join(work, "evil-labels.json");
    writeFileSync(evil, JSON.stringify(names.map((name) => (name === "bus" ? EVIL : name))));
    await give(page, [model, must(beside[0], "preprocessing"), evil]);
    await page.fill("#classify-form [name=count]", "36");
    await submit(page, "classify");
    expect(await page.locator("#classify-result .label", { hasText: EVIL }).count()).toBeGreaterThan(0);

    // Six folders, a hundred logits, and labels that do not name the folder "bus".
    await page.locator("#study-form button[type=submit]:enabled").click();
    const error = page.locator("#study-progress .error");
    await error.waitFor();
    expect(await error.textContent()).toContain(
      "IMAGES_CLASS_COUNT the pictures have 6 classes, the network 100 logits",
    );
    expect(faults).toEqual([]);
  });

  it("a picture that does not decode stops a study, or is left out where that is wanted", async () => {
    await using opened = await open();
    const { page } = opened;
    const folder = join(work, "damaged");
    cpSync(images, folder, { recursive: true });
    writeFileSync(join(folder, "bus", "broken.png"), "no picture");
    await give(page, undefined, folder);
    await page.locator("#study-form button[type=submit]:enabled").click();
    const error = page.locator("#study-progress .error", { hasText: "IMAGE_CORRUPT bus/broken.png" });
    await error.waitFor();
    expect(await error.textContent()).toContain("Go on without pictures that cannot be read");
    await page.check("#study-form [name=skip]");
    await submit(page, "study");
    expect(await page.textContent("#study-result p")).toContain(
      "36 pictures of 6 classes at layer3.2.conv3, 1 left out",
    );
  });

  it("says what to do where there is no WebGPU", async () => {
    const other = await launch(false);
    try {
      const page = await other.newPage();
      await page.addInitScript("Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined });");
      await page.goto(must(server, "server").url);
      const banner = page.locator("#banner .error");
      await banner.waitFor();
      expect(await banner.textContent()).toMatch(/WEBGPU_MISSING.*Chrome, Edge, Safari or Firefox/);
      expect(await violations(page)).toEqual([]);
      // What needs no GPU works: the network is read, and its layers are shown.
      await page.setInputFiles("#files", [model, ...beside]);
      await page.locator("#network-facts dt").first().waitFor();
    } finally {
      await other.close();
    }
  });
});
