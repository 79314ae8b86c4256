/** Hierarchies of classes, and WordNet's that ships. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import {
  ClassNodes,
  hierarchyFromJson,
  hierarchyFromPairs,
  pathSimilarities,
} from "../../../src/channels/evaluate/hierarchy.ts";

const models = new URL("../../../models/", import.meta.url);
const read = (file: string): unknown => JSON.parse(readFileSync(new URL(file, models), "utf8"));

test("path similarity is 1 / (1 + edges through the nearest common ancestor)", () => {
  const tree = hierarchyFromPairs([
    ["dog", "canine"],
    ["wolf", "canine"],
    ["canine", "animal"],
    ["cat", "animal"],
    ["dog", "pet"],
    ["cat", "pet"],
    ["car", "machine"],
  ]);
  const of = pathSimilarities(tree, ["dog", "wolf", "cat", "car", "animal"]);
  expect(of(0, 0)).toBe(1);
  expect(of(0, 1)).toBe(1 / 3);
  expect(of(0, 2)).toBe(1 / 3); // through pet, not through canine and animal
  expect(of(1, 2)).toBe(1 / 4);
  expect(of(0, 4)).toBe(1 / 3);
  expect(of(0, 3)).toBe(0);
  expect(of(2, 1)).toBe(of(1, 2));
});

test("a tree and its table of parents are the same", () => {
  const tree = hierarchyFromJson({
    name: "all",
    children: [{ name: "animal", children: ["dog", { name: "cat" }] }, "car"],
  });
  const table = hierarchyFromJson({ parents: { dog: "animal", cat: ["animal"], animal: "all", car: "all" } });
  for (const [node, parents] of table.parents) expect(tree.parents.get(node)).toEqual(parents);
  expect(tree.parents.size).toBe(table.parents.size);
});

test.each([
  ["a list", []],
  ["nothing", null],
  ["an object of neither form", { a: "b" }],
  ["no pairs", { parents: {} }],
  ["a number for a parent", { parents: { a: 3 } }],
  ["a node that is its own parent", { parents: { a: "a" } }],
  ["a circle", { parents: { a: "b", b: "c", c: "a", d: "root" } }],
  ["a child without a name", { name: "a", children: [{ children: [] }] }],
  ["children that are no list", { name: "a", children: "b" }],
  ["names that are no object", { parents: { a: "b" }, names: 1 }],
  ["an empty name", { parents: { "": "b" } }],
])("%s is refused", (_, value) => {
  expect(() => hierarchyFromJson(value)).toThrow(expect.objectContaining({ code: "HIERARCHY_INVALID" }) as Error);
});

describe("WordNet's part for ImageNet", () => {
  const wordnet = hierarchyFromJson(read("wordnet/imagenet.json"));
  const nodes = new ClassNodes(wordnet);

  test("has the thousand classes, and every other node above them", () => {
    expect(wordnet.words.size).toBe(1000);
    expect([...wordnet.parents].filter(([, parents]) => parents.length === 0).map(([node]) => node)).toEqual([
      "n00001740",
    ]);
  });

  test("classes are known by their ids, by ImageNet's labels, and by a word that is theirs alone", () => {
    expect(nodes.find("n01440764")).toBe("n01440764");
    expect(nodes.find("n01440764_tench")).toBe("n01440764");
    expect(nodes.find("tench, Tinca tinca")).toBe("n01440764");
    expect(nodes.find("Tinca_tinca")).toBe("n01440764");
    expect(nodes.find("crane")).toBeUndefined(); // the bird, and the machine
    expect(nodes.find("no such thing")).toBeUndefined();
  });

  // Edges counted by a breadth-first search in Python over WordNet 3.0's data.noun.
  test.each([
    ["tench", "goldfish", 2],
    ["tabby", "tiger cat", 2],
    ["tench", "tabby", 13],
    ["laptop", "notebook", 2],
    ["Granny Smith", "tabby", undefined],
  ])("%s and %s", (a, b, edges) => {
    const found = pathSimilarities(wordnet, [nodes.find(a) ?? "", nodes.find(b) ?? ""])(0, 1);
    if (edges === undefined) expect(found).toBeLessThan(1 / 13);
    else expect(found).toBeCloseTo(1 / (1 + edges), 15);
  });
});

test("the demo network's hierarchy has all its classes", () => {
  const nodes = new ClassNodes(hierarchyFromJson(read("demo.hierarchy.json")));
  const labels = read("demo-labels.json") as string[];
  expect(labels).toHaveLength(100);
  expect(labels.filter((name) => nodes.find(name) === undefined)).toEqual([]);
});
