/** The report in a real browser: the slider, the images and the keys, against the library's own numbers; nothing runs that should not. */
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sourceSets } from "../../src/channels/sets.ts";
import { auroc } from "../../src/channels/statistics.ts";
import { must } from "../../src/errors.ts";
import type { ReportData } from "../../src/report/data.ts";
import { reportHtml } from "../../src/report/html.ts";
import { showNumber } from "../../src/report/numbers.ts";
import { chromiumPath, faultsOf, launch, temporaryFolder } from "../browser/support.ts";
import { additiveReport, ARVS, CONTRIBUTIONS, sampleReport, threeConcepts } from "./sample.ts";

const EVIL = "<img src=x onerror=alert(1)>";
const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

const name = `the report in a browser${chromiumPath === undefined ? " (skipped: no Chromium)" : ""}`;

describe.skipIf(chromiumPath === undefined)(name, () => {
  const folder = temporaryFolder();
  let browser: Browser | undefined;

  beforeAll(async () => {
    browser = await launch(false);
  }, 60_000);

  afterAll(async () => {
    await browser?.close();
  });

  /** @param use is given the open page; faults are what it wrote as errors */
  async function open(
    data: ReportData,
    use: (page: Page, faults: string[]) => Promise<void>,
    options: Parameters<Browser["newContext"]>[0] = {},
  ): Promise<void> {
    const path = join(folder, "report.html");
    writeFileSync(path, reportHtml(data));
    const context: BrowserContext = await must(browser, "browser").newContext(options);
    try {
      const page = await context.newPage();
      const faults = faultsOf(page);
      await page.goto(pathToFileURL(path).href);
      await use(page, faults);
    } finally {
      await context.close();
    }
  }

  /** The texts of a table's cells. As text, since tests are compiled without a browser's types. */
  const cells = (page: Page, label: string): Promise<string[][]> =>
    page.evaluate<string[][]>(
      `[...document.querySelectorAll('[role=region][aria-label^="${label}"] tbody tr')].map((row) => [...row.children].map((cell) => cell.textContent))`,
    );

  /** Sums over the inputs that a bit of the sets holds. */
  const part = (sets: ArrayLike<number>, k: number): number[] =>
    CONTRIBUTIONS.map((image) =>
      image.reduce((sum, r, i) => (((sets[i] ?? 0) >>> k) & 1 ? sum + Math.fround(r) : sum), 0),
    );

  function expectedFacts(rho: number): string[][] {
    const sets = sourceSets(ARVS.map((v) => Float64Array.from(v)), rho, "symmetric"); // prettier-ignore
    const whole = CONTRIBUTIONS.map((image) => image.reduce((a, r) => a + Math.fround(r), 0));
    return [whole, part(sets, 0), part(sets, 1)].map((values, r) => {
      const by = [values.slice(0, 3), values.slice(3)];
      const means = by.map((v) => showNumber(v.reduce((a, b) => a + b, 0) / 3));
      const own = Math.max(0, r - 1);
      return [...means, showNumber(auroc(by[own] ?? [], by[1 - own] ?? []))];
    });
  }

  it("moves rho by keys, and shows the library's sets, responses and AUROCs", async () => {
    await open(await sampleReport("panda"), async (page, faults) => {
      const slider = page.getByRole("slider");
      expect(await slider.inputValue()).toBe("0.5");
      for (const [keys, rho] of [
        ["Home", 0],
        ["End", 1],
        ["ArrowLeft", 0.95],
      ] as const) {
        await slider.press(keys);
        expect(Number(await slider.inputValue())).toBeCloseTo(rho, 12);
        const sets = sourceSets(ARVS.map((v) => Float64Array.from(v)), rho, "symmetric"); // prettier-ignore
        const count = (set: number): number => sets.filter((s) => s === set).length;
        const said = await page.locator("output").first().textContent();
        for (const [n, what] of [
          [count(1), "panda alone"],
          [count(2), "rocket alone"],
          [count(3), "shared"],
        ] as const)
          expect(said).toMatch(new RegExp(`(^|\\D)${n} inputs? [a-z ]*${what}`));
        const facts = (await cells(page, "Mean responses")).map((row) => row.slice(1, 4));
        expect(facts).toEqual(expectedFacts(rho));
      }
      await page.getByRole("button", { name: "as in the file" }).press("Enter");
      expect(await slider.inputValue()).toBe("0.5");
      expect(faults).toEqual([]);
    });
  });

  it("puts random parts beside the parts: of two of two inputs, half of the AUROC's range", async () => {
    await open(await sampleReport("panda"), async (page) => {
      const rows = await cells(page, "Mean responses");
      expect(rows[0]?.[4]).toBe("");
      for (const row of rows.slice(1)) {
        expect(Number(row[4])).toBeGreaterThanOrEqual(0);
        // The parts are what the sample was made for; random ones are not.
        expect(Number(row[4])).toBeLessThan(Number(row[3]));
      }
    });
  });

  it("switches images by keys, and shows their contributions", async () => {
    await open(await sampleReport("panda"), async (page) => {
      const select = page.getByLabel("image A");
      expect(await select.locator("option").allTextContents()).toContain("panda, panda 0");
      await page.locator("summary").first().press("Enter");
      for (const image of [0, 4]) {
        await select.selectOption(String(image));
        const rows = await cells(page, "The numbers of the network figure");
        const sources = rows.filter(([first]) => first?.startsWith("source channel"));
        expect(sources.length).toBe(4);
        for (const [first = "", , a] of sources) {
          const input = Number(first.replace(/\D/g, ""));
          expect(a).toBe(showNumber(Math.fround(CONTRIBUTIONS[image]?.[input] ?? NaN)));
        }
        expect(rows.at(-1)?.[2]).toBe(showNumber((CONTRIBUTIONS[image] ?? []).reduce((x, y) => x + Math.fround(y), 0)));
      }
      expect(await page.locator(".thumb").first().getAttribute("alt")).toContain("rocket");
    });
  });

  it("three concepts: a density, a part and an AUROC of each", async () => {
    await open(await threeConcepts(), async (page, faults) => {
      expect((await cells(page, "Mean responses")).map(([first]) => first)).toEqual([
        "channel",
        "part 1: panda",
        "part 2: rocket",
        "part 3: tulip",
      ]);
      // Of the rockets on part 1 all responses are 0.7: there is no density to draw.
      expect(await page.locator("svg.chart .curve").count()).toBe(4 * 3 - 1);
      expect(faults).toEqual([]);
    });
  });

  it("parts of any weights: their own contributions, and no slider", async () => {
    await open(await additiveReport(), async (page, faults) => {
      expect(await page.getByRole("slider").count()).toBe(0);
      const facts = await cells(page, "Mean responses");
      const mean = (k: number): string =>
        showNumber(CONTRIBUTIONS.slice(0, 3).reduce((sum, image) => sum + image.reduce((a, r) => a + Math.fround((k === 0 ? 0.75 : 0.25) * r), 0), 0) / 3); // prettier-ignore
      expect(facts.slice(1).map((row) => row[1])).toEqual([mean(0), mean(1)]);
      expect(faults).toEqual([]);
    });
  });

  it("what strangers wrote is text: nothing runs, nothing is fetched", async () => {
    await open(await sampleReport(EVIL), async (page, faults) => {
      let dialogs = 0;
      const requests: string[] = [];
      page.on("dialog", (dialog) => {
        dialogs++;
        void dialog.dismiss();
      });
      page.on("request", (request) => requests.push(request.url()));
      await page.reload();
      expect(await page.locator("h1").textContent()).toContain(EVIL);
      expect(await page.getByLabel("image A").locator("optgroup").first().getAttribute("label")).toBe(EVIL);
      expect(await page.locator("img[src=x]").count()).toBe(0);
      expect(await page.locator("main").textContent()).toContain(EVIL);
      expect(dialogs).toBe(0);
      expect(requests.filter((url) => !url.startsWith("data:") && !url.startsWith("file:"))).toEqual([]);
      expect(faults).toEqual([]);
    });
  });

  it("heat goes and comes with a key", async () => {
    await open(await sampleReport("panda"), async (page) => {
      const box = page.getByLabel("heat over the images");
      const heat = page.locator(".heat").first();
      expect(await heat.isVisible()).toBe(true);
      await box.press("Space");
      expect(await heat.isVisible()).toBe(false);
      await box.press("Space");
      expect(await heat.isVisible()).toBe(true);
    });
  });

  it.each([
    ["light", 1200],
    ["dark", 1200],
    ["light", 360],
  ] as const)("axe finds nothing: %s, %i pixels wide, and nothing is wider", async (colorScheme, width) => {
    const options = { colorScheme, viewport: { width, height: 800 }, bypassCSP: true };
    await open(
      await threeConcepts(),
      async (page) => {
        await page.addScriptTag({ path: axe });
        const violations = await page.evaluate(
          "axe.run().then((r) => r.violations.map((v) => v.id + ': ' + v.nodes[0].html))",
        );
        expect(violations).toEqual([]);
        expect(await page.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(width);
      },
      options,
    );
  });

  it("a name of eighty letters makes a phone's page no wider", async () => {
    await open(
      await sampleReport("x".repeat(80)),
      async (page) => {
        expect(await page.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(360);
      },
      { viewport: { width: 360, height: 800 } },
    );
  });

  it("shows every picture at once, in nodes and galleries: a page that is printed or saved lacks none", async () => {
    await open(await sampleReport("panda"), async (page) => {
      const blank = await page.evaluate(
        "[...document.images].filter((i) => !i.complete || i.naturalWidth === 0).length",
      );
      expect(blank).toBe(0);
      // Before: four sources and the channel. After: four sources, two parts, what they share, their sum.
      const nodes = page.locator("svg.graph");
      expect(await nodes.first().locator("image").count()).toBe(4 + 1);
      expect(await nodes.nth(1).locator("image").count()).toBe(4 + 2 + 1 + 1);
    });
  });

  it("every control can be reached by the tab key", async () => {
    await open(await sampleReport("panda"), async (page) => {
      const reached = new Set<string>();
      for (let k = 0; k < 60; k++) {
        await page.keyboard.press("Tab");
        reached.add(String(await page.evaluate("document.activeElement.tagName + ' ' + document.activeElement.type")));
      }
      for (const control of [
        "SELECT select-one",
        "INPUT range",
        "BUTTON button",
        "SUMMARY undefined",
        "INPUT checkbox",
      ])
        expect([...reached]).toContain(control);
    });
  });
});
