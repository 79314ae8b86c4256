/** The report as a file: what strangers wrote stays text, and nothing is asked of any server. */
import { describe, expect, it } from "vitest";
import { escapeHtml, imageUri, markup, scriptJson } from "../../src/report/escape.ts";
import { reportHtml } from "../../src/report/html.ts";
import { showMeasure, showNumber } from "../../src/report/numbers.ts";
import { sampleReport } from "./sample.ts";

const EVIL = `</script><img src=x onerror=alert(1)>"'&`;

describe("texts of strangers", () => {
  it("are escaped in markup and in scripts", () => {
    expect(markup`<b title="${EVIL}">${EVIL}</b>`.text).toBe(`<b title="${escapeHtml(EVIL)}">${escapeHtml(EVIL)}</b>`);
    expect(escapeHtml(EVIL)).not.toMatch(/[<>"']/);
    const json = scriptJson({ name: EVIL, line: "\u2028" }).text;
    expect(json).not.toMatch(/[<>&\u2028]/);
    expect(JSON.parse(json)).toEqual({ name: EVIL, line: "\u2028" });
  });

  it("only data: URIs of images may be sources", () => {
    expect(imageUri("data:image/png;base64,AAAA")).toBe("data:image/png;base64,AAAA");
    for (const bad of [
      "https://example.org/a.png",
      "data:text/html;base64,AAAA",
      'data:image/png;base64,AA"onerror="',
      "javascript:0",
    ])
      expect(imageUri(bad)).toBeUndefined();
  });

  it("cannot leave their place in the file", async () => {
    const page = reportHtml(await sampleReport(EVIL));
    expect(page).not.toContain("<img src=x");
    // The only elements that are scripts are ours: the numbers, and the code.
    expect(page.match(/<script/g)).toHaveLength(2);
    expect(page.match(/<\/script/g)).toHaveLength(2);
  });

  it("nothing is fetched", async () => {
    const page = reportHtml(await sampleReport("panda"));
    expect(page).toContain("default-src &#39;none&#39;");
    for (const [, url] of page.matchAll(/(?:src|href)="([^"]*)"/g)) expect(url).toMatch(/^(data:image\/|#)/);
    expect(page).not.toMatch(/url\(|@import/);
  });
});

describe("numbers", () => {
  it("are short, and undefined ones say so", () => {
    expect([0.123456, 1234567.8, 0.00001234, 12, NaN, -Infinity].map(showNumber)).toEqual(["0.123", "1.23e+6", "1.23e-5", "12", "undefined", "minus infinity"]); // prettier-ignore
    expect(showMeasure({ value: 0.5, low: 0.25, high: 0.75, n: 9 })).toBe("0.5 (0.25 to 0.75, n = 9)");
    expect(showMeasure({ value: 2 })).toBe("2");
  });
});
