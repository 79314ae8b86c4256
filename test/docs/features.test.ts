/** docs/features.md against the table of operators and the last conformance run. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { operators } from "../../src/kernels/table.ts";

interface Row {
  readonly pass: number;
  readonly fail: number;
  readonly unsupported: Readonly<Record<string, number>>;
}

interface Run {
  readonly pass: number;
  readonly fail: number;
  readonly unsupported: number;
  readonly versions: Readonly<Partial<Record<string, readonly number[]>>>;
  readonly operators: Readonly<Partial<Record<string, Row>>>;
  readonly several: Row;
}

const read = (name: string): string => readFileSync(new URL(`../../docs/${name}`, import.meta.url), "utf8");
const text = read("features.md");
const run = JSON.parse(read("conformance.json")) as Run;

const unsupported = (row: Row): number => Object.values(row.unsupported).reduce((n, k) => n + k, 0);

/** The cells of each row of the table by operator; Prettier may have padded them. */
const [, section = ""] = text.split("## By operator");
const listed = new Map(
  (section.split("\n## ")[0] ?? "")
    .split("\n")
    .filter((line) => /^\| [A-Z]/.test(line))
    .map((line) => {
      const cells = line.split(/(?<!\\)\|/).map((cell) => cell.trim());
      return [cells[1] ?? "", cells.slice(2)];
    }),
);

describe("docs/features.md (node scripts/features.mjs makes it)", () => {
  it("lists the operators of the table, all and no other", () => {
    expect([...listed.keys()]).toEqual([...operators.keys()].sort());
  });

  it.each([...operators])("says of %s where it runs, and whether gradients pass", (name, operator) => {
    const [versions, forward, gradient, tests] = listed.get(name) ?? [];
    expect({ forward, gradient }).toEqual({
      forward: operator.forward === undefined ? "host" : "yes",
      gradient: operator.gradient === undefined ? "no" : "yes",
    });
    expect(versions).toBe((run.versions[name] ?? []).join(", "));
    const row = run.operators[name];
    expect(tests).toBe(row === undefined ? "none" : `${row.pass} of ${row.pass + row.fail + unsupported(row)}`);
  });

  it("gives the run's totals, which are the sums of its rows, and no case failed", () => {
    expect(text).toContain(`${run.pass} passed, ${run.fail} failed, ${run.unsupported} unsupported`);
    const rows = [...Object.values(run.operators).filter((r) => r !== undefined), run.several];
    const sum = (count: (row: Row) => number): number => rows.reduce((n, row) => n + count(row), 0);
    expect([sum((r) => r.pass), sum((r) => r.fail), sum(unsupported)]).toEqual([run.pass, run.fail, run.unsupported]);
    expect(run.fail).toBe(0);
  });

  it("knows every operator of the table in ONNX", () => {
    for (const name of operators.keys()) expect(run.versions[name]?.length ?? 0, name).toBeGreaterThan(0);
  });
});
