/**
 * What rules by weights learn from: moments of the layer's patches over the images of all classes, and of the concepts, with and
 * without the images that are held out, for the guards or also for choosing rho. Clusters are summed apart from the classes, of one channel at a time.
 */
import { must, UnbraidError } from "../errors.ts";
import type { ConvLayer } from "../graph/conv-layers.ts";
import { ClusterMoments } from "./cluster-moments.ts";
import { allConcepts, conceptName, targetConcepts, type Cluster, type Concept, type SplitTarget } from "./concepts.ts";
import { evidenceParts } from "./evidence.ts";
import type { Folds } from "./rho.ts";
import type { ConceptMoments } from "./moment-matrices.ts";
import { MomentSums, type GroupMoments } from "./moments.ts";
import { positionsOf, type MomentPass } from "./moments-pass.ts";
import type { SecondPassSource, SplitPlanning } from "./planning.ts";

export interface WeightEvidence {
  /** By group, over what was added so far. */
  groups(): ReadonlyMap<number, GroupMoments>;
  /** Positions of a concept's images: of the first of these parts, and of the second too where nothing is chosen. */
  parts(concept: Concept): Folds;
  /** What a target is split by: moments of its group, and its concepts by the numbers that these have there. */
  of(target: SplitTarget): Promise<{ readonly moments: ConceptMoments; readonly concepts: readonly number[] }>;
  /** Adds the held-out images: what `groups` and `of` gave before must not be used any more. */
  addHeldOut(): Promise<void>;
}

export interface EvidenceOptions {
  readonly conv: ConvLayer;
  readonly pass: MomentPass;
  readonly groups: readonly number[];
  readonly groupOf: (channel: number) => number;
  /** Classes whose second moments are kept. */
  readonly kept: readonly number[];
  /** Whether rho is to be chosen, on images that are held out too. */
  readonly choosing: boolean;
}

/** @throws UnbraidError RHO_IMAGES where a concept has too few images to hold some out */
export async function weightEvidence(
  p: SplitPlanning,
  { images, studyImages }: SecondPassSource,
  { conv, pass, groups, groupOf, kept, choosing }: EvidenceOptions,
  stage: (share: number) => void,
): Promise<WeightEvidence> {
  const { study, signal } = p;
  const { layer, classes } = study.meta;
  const folds = studyImages === true && study.meta.folds >= 3 ? study.meta.folds : undefined;
  const parts = new Map(
    allConcepts(p.targets.map(targetConcepts)).map((c) => [
      c,
      evidenceParts(images.count(c), typeof c === "number" ? folds : undefined),
    ]),
  );
  for (const [c, { arv, choose, report }] of parts)
    if (arv.length === 0 || report.length === 0 || (choosing && choose.length < 2))
      throw tooFew(conceptName(study, c), images.count(c), choosing);
  const partsOf = (c: Concept): Folds => must(parts.get(c), "a concept that is split");
  const outOf = (c: Concept): readonly number[] =>
    choosing ? ascending([...partsOf(c).choose, ...partsOf(c).report]) : partsOf(c).report;
  const sumsOf = (n: number, own: readonly number[]): MomentSums =>
    new MomentSums({ layer, positions: positionsOf(conv), classes: n, groups, kept: own });
  const add = async (to: MomentSums, k: number, c: Concept, positions?: readonly number[]): Promise<void> => {
    for await (const batch of images.batches(c, positions)) {
      signal?.throwIfAborted();
      to.add(k, await pass.run(batch.tensor, batch.labels.length), batch.items);
    }
  };

  const heldOut = heldOutByClass(p, images, outOf);
  const sums = sumsOf(classes.length, kept);
  for (const t of classes.keys()) {
    stage(t / classes.length);
    const count = images.count(t);
    const out = heldOut.get(t);
    if (count > 0) await add(sums, t, t, out === undefined ? undefined : others(count, out));
  }
  const byGroup = (): ReadonlyMap<number, GroupMoments> => new Map(groups.map((g) => [g, sums.group(g)]));
  let [now, whole] = [byGroup(), false];

  /** Of one channel's clusters: those of all channels would take two matrices each. */
  async function clusterMoments(channel: number, clusters: readonly Cluster[]): Promise<ClusterMoments> {
    const own = sumsOf(clusters.length, [...clusters.keys()]);
    for (const [k, cluster] of clusters.entries()) {
      const out = outOf(cluster);
      // In the order in which classes are added: clusters of the same images then give the same numbers.
      await add(own, k, cluster, others(images.count(cluster), new Set(out)));
      if (whole) await add(own, k, cluster, out);
    }
    const group = groupOf(channel);
    return new ClusterMoments(
      must(now.get(group), "moments"),
      clusters.map(({ name }, k) => own.cluster(group, k, name)),
    );
  }

  return {
    groups: () => now,
    parts: partsOf,
    async of({ channel, classes: own, clusters }) {
      if (clusters !== undefined) {
        // Numbered whatever their order, so that another one adds the same numbers.
        const ordered = clusters.toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
        const moments = await clusterMoments(channel, ordered);
        return { moments, concepts: clusters.map((c) => ordered.indexOf(c)) };
      }
      return { moments: must(now.get(groupOf(channel)), "moments"), concepts: own };
    },
    async addHeldOut() {
      for (const [t, out] of [...heldOut].sort(([a], [b]) => a - b)) await add(sums, t, t, ascending(out));
      [now, whole] = [byGroup(), true];
    },
  };
}

const keyOf = ({ name, images }: Cluster): string => JSON.stringify([name, images]);

const ascending = (positions: Iterable<number>): number[] => [...positions].sort((a, b) => a - b);

const others = (count: number, out: ReadonlySet<number>): number[] =>
  Array.from({ length: count }, (_, k) => k).filter((k) => !out.has(k));

/** Held-out images by class and position there: an image of a cluster is of a class too, and must not be seen through it. */
function heldOutByClass(
  { study, targets }: SplitPlanning,
  images: SecondPassSource["images"],
  heldOut: (c: Concept) => readonly number[],
): ReadonlyMap<number, ReadonlySet<number>> {
  const found = new Map<number, Set<number>>();
  const of = (t: number): Set<number> => {
    const there = found.get(t) ?? new Set();
    found.set(t, there);
    return there;
  };
  const clusters = new Set<Cluster>();
  for (const c of allConcepts(targets.map(targetConcepts)))
    if (typeof c === "number") for (const k of heldOut(c)) of(c).add(k);
    else clusters.add(c);
  const paths = new Set([...clusters].flatMap((c) => heldOut(c).flatMap((k) => images.paths(c)[k] ?? [])));
  if (paths.size > 0)
    for (const t of study.meta.classes.keys())
      images.paths(t).forEach((path, k) => {
        if (paths.has(path)) of(t).add(k);
      });
  return found;
}

const tooFew = (name: string, n: number, choosing: boolean): UnbraidError =>
  new UnbraidError(
    "input",
    "RHO_IMAGES",
    `"${name}" has ${n} image${n === 1 ? "" : "s"}, too few to hold some out${choosing ? " and to choose rho on others" : ""}.`,
    `Give more images of it${choosing ? ", or pass a fixed --rho" : ""}.`,
  );
