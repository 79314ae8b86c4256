/** The second pass of splits: which images of a folder are whose, and the device's side of running rows on them. */
import type { PlanRequest } from "../engine/plan.ts";
import { Session } from "../engine/session.ts";
import { invariant } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { convLayers } from "../graph/conv-layers.ts";
import type { Graph, ShapedGraph } from "../graph/graph.ts";
import { listDigest } from "../relevance/digest.ts";
import type { ImageBatch } from "../relevance/run-study.ts";
import type { Study } from "../relevance/study.ts";
import { allConcepts, targetConcepts, type ClassImages, type SplitTarget } from "./concepts.ts";
import { MomentPass, momentRequest } from "./moments-pass.ts";
import { rowsAtOnce, type SecondPassSource } from "./planning.ts";
import { responseRequest, ResponsePass, type ResponseOptions } from "./responses.ts";

/** An image of a folder, and its class in the study. */
export interface StudyItem {
  readonly path: string;
  readonly label: number;
}

export interface StudyItems {
  readonly items: readonly StudyItem[];
  /** Whether they are the study's images in its order, by name. */
  readonly studyImages: boolean;
  /** Concepts of the targets that have no image: classes, and clusters one of whose images is not there. */
  readonly missing: readonly string[];
}

/** The images of a folder with the study's numbers of classes: folders are told by their names. */
export function studyItems(
  study: Study,
  list: { readonly classes: readonly string[]; readonly items: readonly StudyItem[] },
  targets: readonly SplitTarget[],
): StudyItems {
  const numbers = new Map(study.meta.classes.map((name, t) => [name, t]));
  const items = list.items.flatMap((item): StudyItem[] => {
    const label = numbers.get(list.classes[item.label] ?? "");
    return label === undefined ? [] : [{ path: item.path, label }];
  });
  const labels = new Set(items.map((item) => item.label));
  const paths = new Set(items.map((item) => item.path));
  const missing = allConcepts(targets.map(targetConcepts)).flatMap((concept) => {
    if (typeof concept !== "number") return concept.images.filter((path) => !paths.has(path)).slice(0, 1);
    return labels.has(concept) ? [] : [study.meta.classes[concept] ?? String(concept)];
  });
  const digest = listDigest(items.map((item) => ({ path: item.path, class: item.label })));
  return { items, studyImages: digest === study.meta.images.digest, missing };
}

/** @param load runs over some items in batches */
export function conceptImages(
  items: readonly StudyItem[],
  load: (items: readonly StudyItem[]) => AsyncIterable<ImageBatch>,
): ClassImages {
  const byClass = new Map<number, StudyItem[]>();
  for (const item of items) {
    const there = byClass.get(item.label);
    if (there === undefined) byClass.set(item.label, [item]);
    else there.push(item);
  }
  const byPath = new Map(items.map((item) => [item.path, item]));
  const of: (concept: Parameters<ClassImages["count"]>[0]) => readonly StudyItem[] = (concept) =>
    typeof concept === "number"
      ? (byClass.get(concept) ?? [])
      : concept.images.flatMap((path) => byPath.get(path) ?? []);
  return {
    count: (concept) => of(concept).length,
    paths: (concept) => of(concept).map(({ path }) => path),
    batches: (concept, positions) => {
      const all = of(concept);
      return load(positions === undefined ? all : positions.flatMap((k) => all[k] ?? []));
    },
  };
}

/**
 * Images a batch. A short batch is filled up and costs as much as a full one, and a stage runs over a third of one class at
 * least (all of it in compat mode): larger batches than the largest such part would be work for nothing.
 * @param most what the network can take
 */
export function stageBatch(
  most: number,
  images: ClassImages,
  targets: readonly SplitTarget[],
  compat: boolean,
): number {
  const sizes = allConcepts(targets.map(targetConcepts)).map((concept) => images.count(concept));
  const largest = Math.max(1, ...sizes);
  return Math.min(most, compat ? largest : Math.ceil(largest / 3));
}

export interface SecondPassOptions {
  readonly gpu: Gpu;
  readonly graph: Graph;
  /** The same network, shaped for batches of `batch` images. */
  readonly shaped: ShapedGraph;
  readonly study: Study;
  readonly targets: readonly SplitTarget[];
  readonly input: string;
  /** [channels, height, width] */
  readonly imageShape: readonly number[];
  readonly batch: number;
  readonly images: ClassImages;
  readonly studyImages: boolean;
}

export interface SecondPass extends SecondPassSource, Disposable {}

/** What every pass over the layer's input is opened with. */
function commonOptions(o: SecondPassOptions): Omit<ResponseOptions, "rows"> {
  const geometry = o.study.meta.layer;
  const layer = convLayers(o.shaped).find((l) => l.node.name === geometry.nodeName);
  invariant(layer !== undefined, `no Conv node ${geometry.nodeName} in the model of the study`);
  return { layer, geometry, input: o.input, imageShape: o.imageShape, batch: o.batch };
}

/** What the passes ask for of the network: their plans say how much memory such a batch takes. */
export function secondPassRequests(o: SecondPassOptions): PlanRequest[] {
  const common = commonOptions(o);
  // Rules by weights open moments beside; what those take of each group of the layer does not depend on the batch.
  return [responseRequest({ ...common, rows: rowsAtOnce(o.targets) }), momentRequest({ ...common, groups: [0] })];
}

/** What `planSplits` runs rows on images with. */
export async function openSecondPass(o: SecondPassOptions): Promise<SecondPass> {
  const common = commonOptions(o);
  const session = new Session(o.gpu, o.graph);
  try {
    const pass = await ResponsePass.open(session, { ...common, rows: rowsAtOnce(o.targets) });
    return {
      ...{ pass, images: o.images, studyImages: o.studyImages },
      moments: { layer: common.layer, open: (groups) => MomentPass.open(session, { ...common, groups }) },
      [Symbol.dispose]: () => {
        session[Symbol.dispose]();
      },
    };
  } catch (error) {
    session[Symbol.dispose]();
    throw error;
  }
}
