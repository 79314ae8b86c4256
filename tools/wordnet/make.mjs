// The hypernyms of ImageNet-1k's synsets as one small file. What it reads, and how to get it, is in README.md beside this.
// Usage: node tools/wordnet/make.mjs DATA_NOUN IMAGENET_SYNSETS LICENSE OUT_FOLDER
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [dataNoun, synsetList, licence, out] = process.argv.slice(2);
if (out === undefined) throw new Error("usage: make.mjs DATA_NOUN IMAGENET_SYNSETS LICENSE OUT_FOLDER");

/** offset -> { words, parents }, of a line of WordNet's data.noun (wndb(5WN)). */
const synsets = new Map();
for (const line of readFileSync(dataNoun, "latin1").split("\n")) {
  if (!/^\d{8} /.test(line)) continue;
  const fields = line.split(" | ")[0].split(" ");
  const words = parseInt(fields[3], 16);
  const pointers = 4 + 2 * words;
  const parents = [];
  for (let k = 0; k < Number(fields[pointers]); k++) {
    const [symbol, offset] = fields.slice(pointers + 1 + 4 * k);
    if (symbol === "@" || symbol === "@i") parents.push(`n${offset}`);
  }
  const lemmas = Array.from({ length: words }, (_, k) => fields[4 + 2 * k].replaceAll("_", " "));
  synsets.set(`n${fields[0]}`, { lemmas, parents });
}

const ids = readFileSync(synsetList, "utf8").trim().split(/\s+/);
const parents = {};
const visit = (id) => {
  if (Object.hasOwn(parents, id)) return;
  const synset = synsets.get(id);
  if (synset === undefined) throw new Error(`WordNet has no synset ${id}: is this WordNet 3.0?`);
  parents[id] = synset.parents.length === 1 ? synset.parents[0] : synset.parents;
  synset.parents.forEach(visit);
};
ids.forEach(visit);

const sorted = (object) => Object.fromEntries(Object.entries(object).sort(([a], [b]) => (a < b ? -1 : 1)));
const names = Object.fromEntries(ids.map((id) => [id, synsets.get(id).lemmas.join(", ")]));
const hierarchy = {
  source: "WordNet 3.0, Copyright 2006 by Princeton University: LICENSE beside this file",
  names: sorted(names),
  parents: sorted(parents),
};
// One entry a line: differences can be read.
const text = JSON.stringify(hierarchy, undefined, 0)
  .replaceAll('","', '",\n"')
  .replaceAll("],", "],\n")
  .replaceAll("},", "},\n");
writeFileSync(join(out, "imagenet.json"), `${text}\n`);
writeFileSync(join(out, "LICENSE"), readFileSync(licence, "utf8").replaceAll("\r\n", "\n"));
console.log(`${ids.length} synsets, ${Object.keys(parents).length} with their hypernyms, ${text.length} characters`);
