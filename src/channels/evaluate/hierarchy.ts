/**
 * A hierarchy of concepts, and how near two classes stand in it (METHOD.md A10): WordNet's for ImageNet's classes, or any
 * other. Path similarity is 1 / (1 + d), d the edges on the shortest way from one to the other through a common ancestor
 * (Pedersen, Patwardhan and Michelizzi, "WordNet::Similarity", NAACL 2004; nltk's `path_similarity` for nouns).
 */
import { UnbraidError } from "../../errors.ts";

export interface Hierarchy {
  /** Each node's parents; roots have none. */
  readonly parents: ReadonlyMap<string, readonly string[]>;
  /** Words that a node is known by besides its own name, as of a WordNet synset. */
  readonly words: ReadonlyMap<string, readonly string[]>;
}

const invalid = (why: string): UnbraidError =>
  new UnbraidError(
    "input",
    "HIERARCHY_INVALID",
    `the hierarchy makes no sense: ${why}`,
    'Give CSV lines "child,parent", or JSON: {"parents": {"dog": "mammal", ...}}, or a tree of {"name", "children"}.',
  );

type Pair = readonly [child: string, parent: string];

/**
 * @param pairs of a child and one of its parents; a child may have several
 * @throws UnbraidError HIERARCHY_INVALID without pairs, for an empty name, and for a circle
 */
export function hierarchyFromPairs(pairs: readonly Pair[], words: Hierarchy["words"] = new Map()): Hierarchy {
  const parents = new Map<string, string[]>();
  for (const [child, parent] of pairs) {
    if (child === "" || parent === "") throw invalid(`an empty name beside "${child}${parent}"`);
    const known = parents.get(child) ?? [];
    if (!known.includes(parent)) known.push(parent);
    parents.set(child, known);
    if (!parents.has(parent)) parents.set(parent, []);
  }
  if (parents.size === 0) throw invalid("it is empty");
  checkAcyclic(parents);
  return { parents, words };
}

/** Removes roots layer by layer, downwards: what stays is in a circle or below one. */
function checkAcyclic(parents: ReadonlyMap<string, readonly string[]>): void {
  const children = new Map<string, string[]>();
  const open = new Map<string, number>();
  for (const [child, above] of parents) {
    open.set(child, above.length);
    for (const parent of above) children.set(parent, [...(children.get(parent) ?? []), child]);
  }
  const free = [...open].filter(([, n]) => n === 0).map(([name]) => name);
  let done = 0;
  for (let name = free.pop(); name !== undefined; name = free.pop()) {
    done++;
    for (const child of children.get(name) ?? []) {
      const left = (open.get(child) ?? 0) - 1;
      open.set(child, left);
      if (left === 0) free.push(child);
    }
  }
  const [circle] = [...open].find(([, n]) => n > 0) ?? [];
  if (done < parents.size) throw invalid(`"${circle ?? ""}" is among its own ancestors, or below such a circle`);
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * Of JSON that is parsed: `{"parents": {child: parent or [parents]}, "names": {node: "word, word"}}` (names may be left
 * out), or a tree `{"name", "children": [...]}` whose leaves may be texts.
 * @throws UnbraidError HIERARCHY_INVALID
 */
export function hierarchyFromJson(value: unknown): Hierarchy {
  if (!isObject(value)) throw invalid("it is no JSON object");
  if (isObject(value.parents)) return hierarchyFromPairs(fromParents(value.parents), wordsOf(value.names));
  const pairs: Pair[] = [];
  walk(value, undefined, pairs, 0);
  return hierarchyFromPairs(pairs);
}

function fromParents(parents: Record<string, unknown>): Pair[] {
  return Object.entries(parents).flatMap(([child, above]): Pair[] => {
    const list: unknown[] = Array.isArray(above) ? above : [above];
    return list.map((parent) => {
      if (typeof parent !== "string") throw invalid(`the parent of "${child}" is no text`);
      return [child, parent];
    });
  });
}

function wordsOf(names: unknown): Map<string, string[]> {
  if (names === undefined) return new Map();
  if (!isObject(names)) throw invalid('"names" is no object');
  return new Map(
    Object.entries(names).map(([node, text]) => {
      if (typeof text !== "string") throw invalid(`the name of "${node}" is no text`);
      return [node, text.split(",").map((word) => word.trim())];
    }),
  );
}

/** Deeper than any hierarchy of concepts; a stack is finite. */
const MOST_LEVELS = 1000;

function walk(node: unknown, parent: string | undefined, pairs: Pair[], level: number): void {
  const name = typeof node === "string" ? node : isObject(node) ? node.name : undefined;
  if (typeof name !== "string" || level > MOST_LEVELS)
    throw invalid(parent === undefined ? 'it has neither "parents" nor "name"' : `a child of "${parent}" has no name`);
  if (parent !== undefined) pairs.push([name, parent]);
  const children = isObject(node) ? (node.children ?? []) : [];
  if (!Array.isArray(children)) throw invalid(`the children of "${name}" are no list`);
  for (const child of children) walk(child, name, pairs, level + 1);
}

/** Finds classes by their names. */
export class ClassNodes {
  readonly #nodes = new Map<string, string | undefined>();

  constructor({ parents, words }: Hierarchy) {
    for (const node of parents.keys()) this.#nodes.set(plain(node), node);
    // All words together are a label of ImageNet; one word alone counts where only one node has it.
    const single = new Map<string, string | undefined>();
    const add = (map: Map<string, string | undefined>, word: string, node: string): void => {
      const key = plain(word);
      if (!this.#nodes.has(key)) map.set(key, map.has(key) && map.get(key) !== node ? undefined : node);
    };
    const whole = new Map<string, string | undefined>();
    for (const [node, all] of words) {
      add(whole, all.join(", "), node);
      for (const word of all) add(single, word, node);
    }
    for (const map of [single, whole]) for (const [key, node] of map) this.#nodes.set(key, node);
  }

  /** By the node's name, by all its words as ImageNet's labels have them, or by one that no other node has. */
  find(className: string): string | undefined {
    const [id = ""] = className.split(/[_\s-]/, 1);
    // `n01440764_tench` too.
    return this.#nodes.get(plain(className)) ?? (/^n\d{8}$/.test(id) ? this.#nodes.get(id) : undefined);
  }
}

const plain = (name: string): string => name.trim().replaceAll("_", " ").replaceAll(/\s+/g, " ").toLowerCase();

/** [node and each of its ancestors] the edges of the shortest way up. */
function distancesUp({ parents }: Hierarchy, node: string): Map<string, number> {
  const found = new Map([[node, 0]]);
  for (const [at, distance] of found)
    for (const parent of parents.get(at) ?? []) if (!found.has(parent)) found.set(parent, distance + 1);
  return found;
}

/** Path similarities of nodes by position: 1 of a node with itself, 0 where two have no common ancestor. */
export function pathSimilarities(hierarchy: Hierarchy, nodes: readonly string[]): (i: number, j: number) => number {
  const up = nodes.map((node) => distancesUp(hierarchy, node));
  const known = nodes.map((_, i) =>
    Float64Array.from(nodes, (__, j) => {
      let shortest = Infinity;
      for (const [ancestor, a] of up[i] ?? []) shortest = Math.min(shortest, a + (up[j]?.get(ancestor) ?? Infinity));
      return 1 / (1 + shortest);
    }),
  );
  return (i, j) => known[i]?.[j] ?? NaN;
}
