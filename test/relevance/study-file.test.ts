import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { UnbraidError } from "../../src/errors.ts";
import { digestOf, hexDigest, listDigest } from "../../src/relevance/digest.ts";
import { decodeStudy, encodeStudy, studiesEqual } from "../../src/relevance/study-file.ts";
import { selectLayer } from "../../src/relevance/study-set.ts";
import { accumulate } from "../../src/relevance/accumulate.ts";
import { countsOf, tapSumsOf } from "../../src/relevance/study.ts";
import { Random } from "../support/random.ts";
import { batchOf, emptyStudy, LABELS } from "./synthetic.ts";

const FOLDS = 2;
const study = emptyStudy({ folds: FOLDS });
accumulate(study, batchOf(0, LABELS.length - 2, [2], FOLDS));
const file = encodeStudy({ studies: [study] });
/** Of the first line and the JSON. */
const lineEnd = file.indexOf(0x0a) + 1;
const headerEnd = lineEnd + Number(new TextDecoder().decode(file.subarray(0, lineEnd)).split(" ")[2]);

/** What decoding gives: a code, or "ok" when the file reads as the study that it was. */
function outcome(bytes: Uint8Array): string {
  try {
    const read = decodeStudy(bytes);
    // Whatever is accepted must be a study in full: it can be written again to the same bytes.
    return Buffer.from(encodeStudy(read)).equals(bytes) ? "ok" : "not canonical";
  } catch (error) {
    if (error instanceof UnbraidError) return error.code;
    throw error;
  }
}

/** The same bytes with a digest that fits them, as one who damages a file on purpose would make. */
function resigned(bytes: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy.set(digestOf(copy.subarray(0, copy.length - 32)), copy.length - 32);
  return copy;
}

function edited(edit: (text: string) => string): Uint8Array {
  const json = new TextDecoder().decode(file.subarray(lineEnd, headerEnd));
  const changed = new TextEncoder().encode(edit(json));
  const head = Buffer.concat([Buffer.from(`UNBRAID-STUDY 2 ${changed.length}\n`), changed]);
  const pad = Buffer.alloc((8 - (head.length % 8)) % 8);
  return resigned(Buffer.concat([head, pad, file.subarray(Math.ceil(headerEnd / 8) * 8)]));
}

describe("the study file", () => {
  it("reads back as it was written", () => {
    const set = decodeStudy(file);
    expect(encodeStudy(set)).toEqual(file);
    const read = selectLayer(set);
    expect(read.meta).toEqual({ ...study.meta, settings: { a: "1", b: "2" } });
    expect(read.done).toEqual([[0, 10]]);
    expect(read.skipped).toEqual([{ index: 2, name: "image 2", reason: "truncated" }]);
    expect(countsOf(read, "half", 1, 2)).toEqual(countsOf(study, "half", 1, 2));
    expect(tapSumsOf(read, 0, [1])?.toFloat64()).toEqual(tapSumsOf(study, 0, [1])?.toFloat64());
    expect(outcome(edited((json) => json))).toBe("ok");
  });

  it("keeps an empty study", () => {
    expect(selectLayer(decodeStudy(encodeStudy({ studies: [emptyStudy()] }))).accumulators).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });

  it("reads version 1: one layer, no folds", () => {
    const old = decodeStudy(readFileSync(new URL("data/version-1.study", import.meta.url)));
    const now = emptyStudy();
    accumulate(now, batchOf(0, LABELS.length - 2, [2]));
    expect(studiesEqual(old, { studies: [now] })).toBe(true);
  });

  it("refuses what is not a study, and what a newer version wrote", () => {
    expect(outcome(new Uint8Array(0))).toBe("STUDY_FORMAT");
    expect(outcome(new TextEncoder().encode("channel,class1,class2\n"))).toBe("STUDY_FORMAT");
    expect(outcome(Uint8Array.from(file, (b) => b ^ 1))).toBe("STUDY_FORMAT");
    const newer = Uint8Array.from(file);
    newer["UNBRAID-STUDY ".length] = "3".charCodeAt(0);
    expect(outcome(newer)).toBe("STUDY_VERSION");
  });

  it("refuses every truncation", () => {
    for (let length = 1; length < file.length; length += length < headerEnd + 50 ? 1 : 37) {
      const code = outcome(file.subarray(0, length));
      expect(code, `${length} bytes`).toBe(length < "UNBRAID-STUDY ".length ? "STUDY_FORMAT" : "STUDY_CORRUPT");
    }
  });

  it("refuses 3000 damaged files, and never fails otherwise", () => {
    const random = new Random(11);
    for (let m = 0; m < 3000; m++) {
      const bytes = Uint8Array.from(file);
      const at = random.below(bytes.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 + random.below(255));
      expect(outcome(bytes), `byte ${at}`).toMatch(/^STUDY_/);
    }
  });

  it("accepts 3000 damaged files with fitting digests only where the damage is another valid study", () => {
    const random = new Random(12);
    const seen = new Map<string, number>();
    for (let m = 0; m < 3000; m++) {
      const bytes = Uint8Array.from(file);
      // Mostly the header, which steers everything.
      const at = random.below(m % 4 === 0 ? bytes.length - 32 : headerEnd);
      if (m % 3 === 0) bytes[at] = 48 + random.below(10);
      else if (m % 3 === 1) bytes.copyWithin(at, random.below(headerEnd), random.below(headerEnd));
      else bytes[at] = random.below(256);
      const code = outcome(resigned(bytes));
      seen.set(code, (seen.get(code) ?? 0) + 1);
    }
    expect([...seen.keys()].filter((k) => k !== "ok" && k !== "not canonical" && !k.startsWith("STUDY_"))).toEqual([]);
    expect(seen.get("STUDY_CORRUPT") ?? 0).toBeGreaterThan(1000);
  });

  const lies: [string, (json: string) => string][] = [
    ["a huge layer in a small file", (j) => j.replace('"outChannels":4', '"outChannels":2147483647')],
    ["a huge kernel", (j) => j.replace('"kernel":[3,2]', '"kernel":[2000000000,2000000000]')],
    ["groups that do not divide", (j) => j.replace('"groups":2', '"groups":4')],
    ["a missing key", (j) => j.replace('"hasBias"', '"hasBaas"')],
    ["a wrong type", (j) => j.replace('"groups":2', '"groups":"2"')],
    ["a fraction", (j) => j.replace('"groups":2', '"groups":2.5')],
    ["more images than listed", (j) => j.replace('"perClass":[4,3,5]', '"perClass":[2,3,7]')],
    ["classes that do not add up", (j) => j.replace('"length":12', '"length":13')],
    ["a range beyond the list", (j) => j.replace('"done":[[0,10]]', '"done":[[0,13]]')],
    ["ranges out of order", (j) => j.replace('"done":[[0,10]]', '"done":[[5,10],[0,5]]')],
    ["images that no range holds", (j) => j.replace('"done":[[0,10]]', '"done":[[0,9]]')],
    ["a skipped image out of range", (j) => j.replace('"index":2', '"index":11')],
    ["taus that descend", (j) => j.replace("[0.03,0.3]", "[0.3,0.03]")],
    ["no taus", (j) => j.replace("[0.03,0.3]", "[]")],
    ["fewer taus than counts", (j) => j.replace("[0.03,0.3]", "[0.3]")],
    ["not JSON", (j) => j.slice(0, -1)],
    ["JSON nested without end", (j) => j.replace('"none"', `${"[".repeat(20000)}${"]".repeat(20000)}`)],
    ["a list where an object belongs", () => "[]"],
  ];
  it.each(lies)("refuses %s", (_, edit) => {
    expect(outcome(edited(edit))).toBe("STUDY_CORRUPT");
  });

  it("refuses counts above the images, and signs that are none", () => {
    const weights = Math.ceil(headerEnd / 8) * 8;
    const sign = Uint8Array.from(file);
    sign[weights + 72 * 4] = 3;
    expect(outcome(resigned(sign))).toBe("STUDY_CORRUPT");
    const counts = Uint8Array.from(file);
    counts[counts.length - 32 - 32] = 200;
    expect(outcome(resigned(counts))).toBe("STUDY_CORRUPT");
    const infinite = Uint8Array.from(file);
    infinite.set([0, 0, 0x80, 0x7f], weights);
    expect(outcome(resigned(infinite))).toBe("STUDY_CORRUPT");
  });
});

describe("digests", () => {
  it("are SHA-256", () => {
    const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i);
    expect(hexDigest(bytes)).toBe(createHash("sha256").update(bytes).digest("hex"));
  });

  it("tell lists of images apart", () => {
    const list = [
      { path: "a/1.png", class: 0 },
      { path: "b/1.png", class: 1 },
    ];
    const digests = [list, list.toReversed(), [{ path: 'a/1.png" 0\n"b/1.png', class: 1 }], list.slice(1)].map(
      listDigest,
    );
    expect(new Set(digests).size).toBe(4);
  });
});
