/** Which images evaluate runs: those of the concepts' classes, and a sample of all classes. */
import { Random } from "../channels/random.ts";
import { UnbraidError } from "../errors.ts";
import type { ImageItem, ImageList } from "../images/folder.ts";
import type { EvaluatedParts } from "./evaluate-concepts.ts";

export interface ChosenImages {
  /** Of the concepts, by concept. */
  readonly concepts: readonly ImageItem[];
  /** Of all classes, as evenly as can be; in list order. */
  readonly sample: readonly ImageItem[];
  /** Concepts of which only some images are taken. */
  readonly thinned: number;
}

/** More images of one class make no figure clearer, and comparisons of pairs of images much slower. */
export const MOST_OF_A_CLASS = 300;

/**
 * @param sample how many images of all classes
 * @throws UnbraidError IMAGES_CLASSES_OTHER where the folder's classes are not the network's as the split names them
 */
export function chooseImages(
  list: ImageList,
  { parts, clusters }: EvaluatedParts,
  root: string,
  { sample, seed }: { readonly sample: number; readonly seed: number },
): ChosenImages {
  const byClass = new Map<number, ImageItem[]>();
  for (const item of list.items) {
    const members = byClass.get(item.label) ?? [];
    members.push(item);
    byClass.set(item.label, members);
  }
  const wanted = new Map(parts.flatMap((part) => part.ids.map((id, k) => [id, part.concepts[k] ?? ""] as const)));
  const imagesOf = (id: number): readonly ImageItem[] => {
    const paths = clusters.get(id);
    return paths === undefined ? (byClass.get(id) ?? []) : list.items.filter((item) => paths.has(item.path));
  };
  const missing = [...wanted].filter(
    ([id, name]) => imagesOf(id).length === 0 || (!clusters.has(id) && list.classes[id] !== name),
  );
  if (missing.length > 0)
    throw new UnbraidError(
      "input",
      "IMAGES_CLASSES_OTHER",
      `${root} has no images of ${missing.map(([id, name]) => (clusters.has(id) ? name : `"${name}" (class ${id})`)).join(", ")}`,
      "Give a folder with the sub-folders of the study's; with --classes FILE where they are only some of the classes.",
    );
  let thinned = 0;
  const concepts = [...wanted.keys()]
    .sort((a, b) => a - b)
    .flatMap((id) => {
      const all = imagesOf(id);
      if (all.length > MOST_OF_A_CLASS) thinned++;
      const n = Math.min(all.length, MOST_OF_A_CLASS);
      return Array.from({ length: n }, (_, k) => all[Math.floor((k * all.length) / n)] ?? []).flat();
    });
  return { concepts: [...new Set(concepts)], sample: evenSample(byClass, sample, seed), thinned };
}

/** One of each class, then a second of each, ... in random order, until there are `size`. */
function evenSample(byClass: ReadonlyMap<number, readonly ImageItem[]>, size: number, seed: number): ImageItem[] {
  const random = new Random(seed);
  const shuffled = random.shuffle([...byClass.values()].map((members) => random.shuffle(members)));
  const chosen: ImageItem[] = [];
  for (let turn = 0; chosen.length < size; turn++) {
    const next = shuffled.flatMap((members) => members[turn] ?? []);
    if (next.length === 0) break;
    chosen.push(...next.slice(0, size - chosen.length));
  }
  const order = new Map([...byClass.values()].flat().map((item, at) => [item, at]));
  return chosen.sort((a, b) => (order.get(a) ?? 0) - (order.get(b) ?? 0));
}
