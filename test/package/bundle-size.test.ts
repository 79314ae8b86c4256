/** What the library weighs in a page: `node scripts/bundle-size.mjs --why` says what is heavy. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";
import { root } from "../cli/built.ts";

interface Measured {
  readonly name: string;
  readonly bytes: number;
  readonly gzip: number;
  readonly budget: number;
}

it("stays within its budgets", () => {
  const text = execFileSync(process.execPath, [join(root, "scripts", "bundle-size.mjs"), "--json"], {
    encoding: "utf8",
  });
  const measured = JSON.parse(text) as Measured[];
  expect(measured.length).toBe(3);
  for (const { name, bytes, gzip, budget } of measured) {
    process.stderr.write(`note: ${name}: ${gzip} bytes of gzip, budget ${budget}\n`);
    expect(bytes).toBeGreaterThan(gzip);
    expect(gzip, name).toBeGreaterThan(20_000);
    expect(gzip, name).toBeLessThanOrEqual(budget);
  }
});
