/** `unbraid demo --quick` from its first step to its report. */
import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { testAdapters } from "../support/gpu.ts";
import { jsonOf, temporaryFolder, unbraid } from "./support.ts";

interface DemoJson {
  readonly complete: boolean;
  readonly report: string;
  readonly bytes: number;
  readonly found: readonly string[];
  readonly best: { readonly channel: number; readonly concepts: readonly string[]; readonly q_value: number };
  readonly random: { readonly channel: number };
  readonly steps: readonly { readonly name: string; readonly command: string; readonly seconds: number }[];
}

/** The fastest software or hardware adapter there is: SwiftShader is tested by the benchmark. */
const adapter = testAdapters.find((name) => name !== "swiftshader");

describe.skipIf(adapter === undefined)("demo", () => {
  const folder = join(temporaryFolder(), "demo");

  test("studies, finds, splits, verifies, evaluates, visualises and reports", async () => {
    const ran = await unbraid("demo", "--quick", "--out", folder, "--adapter", adapter ?? "", "--json");
    expect(ran.code).toBe(0);
    const json = jsonOf<DemoJson>(ran);
    expect(json.steps.map(({ name }) => name)).toEqual(["study", "find", "split", "verify", "evaluate", "visualize", "report"]); // prettier-ignore
    expect(json.found.length).toBe(5);
    expect(json.complete).toBe(true);
    expect(json.report).toBe(join(folder, "report.html"));
    expect(json.bytes).toBe(statSync(json.report).size);
    expect(json.bytes).toBeLessThan(5e6);
    // Chosen by evidence: a significant pair. By lot: another channel.
    expect(json.best.q_value).toBeLessThanOrEqual(0.05);
    expect(json.random.channel).not.toBe(json.best.channel);
    const verification = JSON.parse(readFileSync(join(folder, "verification.json"), "utf8")) as { holds: boolean };
    expect(verification.holds).toBe(true);
    const html = readFileSync(json.report, "utf8");
    for (const text of ["the best by calibrated evidence", "drawn by lot", ...json.best.concepts, "Twemoji"])
      expect(html).toContain(text);
    expect(readdirSync(join(folder, "pictures"))).toContain("sheet.png");
  }, 400_000);
});
