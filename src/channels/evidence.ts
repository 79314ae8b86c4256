/**
 * Three disjoint parts of each concept's images (METHOD.md B, "rho on held-out images"): average relevance vectors come
 * from the first, rho is chosen on the second, guards and scores are of the third. Where the images are the study's, the
 * first is read from the study's own folds, and only the other two are run again.
 */
import { UnbraidError } from "../errors.ts";
import { meanTapSums } from "../relevance/arv.ts";
import { evidenceFolds, foldOf } from "../relevance/folds.ts";
import { allConcepts, conceptName, targetConcepts, type Concept, type SplitTarget } from "./concepts.ts";
import { meanOverImages, type ResponseSource } from "./part-responses.ts";
import { threeFolds, type Folds } from "./rho.ts";

export interface Evidence {
  /** [I, K] mean tap sums over the first part. */
  mean(concept: Concept): Float64Array;
  /** Positions among the concept's images. */
  parts(concept: Concept): Folds;
}

/** Positions of a concept's n images by part. */
export function evidenceParts(n: number, folds: number | undefined): Folds {
  if (folds === undefined) return threeFolds(n);
  const of = evidenceFolds(folds);
  const positions = Array.from({ length: n }, (_, k) => k);
  const those = (wanted: readonly number[]): number[] => positions.filter((k) => wanted.includes(foldOf(k, folds)));
  return { arv: those(of.arv), choose: those(of.choose), report: those(of.report) };
}

/**
 * @param source.studyImages whether the images are those of the study, in its order
 * @param choosing whether something is to be chosen on the second part
 * @throws UnbraidError RHO_IMAGES where a concept has too few images for its parts
 */
export async function gatherEvidence(
  source: ResponseSource & { readonly studyImages?: boolean | undefined },
  targets: readonly SplitTarget[],
  choosing: boolean,
  stage: (share: number) => void,
): Promise<Evidence> {
  const { study, images } = source;
  const concepts = allConcepts(targets.map(targetConcepts));
  const { folds } = study.meta;
  const known = (c: Concept): c is number => source.studyImages === true && folds >= 3 && typeof c === "number";
  const parts = new Map(
    concepts.map((c) => [c, checked(study, c, evidenceParts(images.count(c), known(c) ? folds : undefined), choosing)]),
  );
  const partsOf = (c: Concept): Folds => parts.get(c) ?? threeFolds(images.count(c));
  const fromStudy = new Map<Concept, Float64Array>();
  for (const c of concepts) {
    const mean = known(c) ? meanTapSums(study, c, evidenceFolds(folds).arv) : undefined;
    if (mean !== undefined) fromStudy.set(c, mean);
  }
  const others = concepts.filter((c) => !fromStudy.has(c));
  const run = await meanOverImages(source, others, (c) => partsOf(c).arv, stage);
  return {
    parts: partsOf,
    mean(concept) {
      const mean = fromStudy.get(concept) ?? run.get(concept);
      if (mean === undefined) throw new Error("internal error: a concept that evidence was not gathered for");
      return mean;
    },
  };
}

/** ARVs and reports of one image are thin, but are there; a choice compares spreads, which takes two. */
function checked(study: ResponseSource["study"], concept: Concept, parts: Folds, choosing: boolean): Folds {
  const { arv, choose, report } = parts;
  if (arv.length >= 1 && report.length >= 1 && (!choosing || choose.length >= 2)) return parts;
  const n = arv.length + choose.length + report.length;
  throw new UnbraidError(
    "input",
    "RHO_IMAGES",
    `"${conceptName(study, concept)}" has ${n} image${n === 1 ? "" : "s"}, too few for three disjoint parts: ${arv.length} for average relevance, ${choose.length} to choose rho with, ${report.length} to report on.`,
    "Give more images of it, or pass a fixed --rho without --images.",
  );
}
