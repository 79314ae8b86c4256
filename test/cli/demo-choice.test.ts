/** What the demo shows is chosen by evidence and by lot, and its folder never takes what is not its own. */
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { chooseForDemo, type FoundPair } from "../../src/cli/demo-choice.ts";
import { MARK, prepareFolder } from "../../src/cli/demo-folder.ts";
import { errorOf, temporaryFolder, write } from "./support.ts";

const pair = (channel: number, q: number | null, cosine = 0.3, class1 = 0): FoundPair => ({
  layer: "last",
  ...{ channel, class1, class2: 9, class1_name: `class ${class1}`, class2_name: "class 9", cosine_similarity: cosine },
  significance: q === null ? null : { q_value: q, cosine: { value: cosine } },
});

describe("the demo's choice", () => {
  const significant = [pair(5, 0.02), pair(3, 0.01, 0.4), pair(3, 0.001, 0.2, 1), pair(8, 0.01, 0.1)];
  const candidates = [...significant, pair(1, 0.9, 0.8), pair(1, null, 0.7, 2), pair(2, 0.5, 0.9)];

  it("takes one pair a channel, by q and then by the lower cosine", () => {
    const { surest } = chooseForDemo(significant, candidates, 3, 1);
    expect(surest.map(({ channel, class1 }) => [channel, class1])).toEqual([[3, 1], [8, 0], [5, 0]]); // prettier-ignore
    expect(chooseForDemo(significant, candidates, 1, 1).surest.map((p) => p.channel)).toEqual([3]);
  });

  it("draws another channel by lot: every one comes, each as often", () => {
    const counts = new Map<number, number>();
    for (let seed = 0; seed < 600; seed++) {
      const { random } = chooseForDemo(significant, candidates, 3, seed);
      counts.set(random?.channel ?? -1, (counts.get(random?.channel ?? -1) ?? 0) + 1);
    }
    // Channels 1 and 2, though channel 1 has twice the pairs: 300 each, with a deviation of 12.
    expect([...counts.keys()].sort()).toEqual([1, 2]);
    expect(Math.abs((counts.get(1) ?? 0) - 300)).toBeLessThan(6 * 12.3);
    expect(chooseForDemo(significant, candidates, 3, 7)).toEqual(chooseForDemo(significant, candidates, 3, 7));
  });

  it("does without either", () => {
    expect(chooseForDemo([], candidates, 3, 1).surest).toEqual([]);
    expect(chooseForDemo(significant, significant, 3, 1).random).toBeUndefined();
  });
});

describe("the demo's folder", () => {
  const dir = temporaryFolder();

  it("is made, and an earlier demo's files go", () => {
    const folder = join(dir, "a", "demo");
    prepareFolder(folder);
    write(join(folder, MARK), "{}");
    write(join(folder, "report.html"), "old");
    write(join(folder, "pictures", "sheet.png"), "old");
    write(join(folder, "mine.txt"), "kept");
    prepareFolder(folder);
    expect(readdirSync(folder)).toEqual(["mine.txt"]);
  });

  it("of something else is left alone", async () => {
    const folder = join(dir, "other");
    write(join(folder, "thesis.tex"), "years of work");
    expect(await errorOf("demo", "--out", folder)).toMatchObject({ code: "OUTPUT_EXISTS", exit: 8 });
    expect(existsSync(join(folder, "thesis.tex"))).toBe(true);
    const file = write(join(dir, "file"), "");
    expect((await errorOf("demo", "--out", file)).code).toBe("OUTPUT_UNWRITABLE");
    mkdirSync(join(dir, "empty"));
    expect(() => {
      prepareFolder(join(dir, "empty"));
    }).not.toThrow();
  });
});
