/** rho for planted channels, by the original's ratio and by ours: their parts on images of their classes. */
import { must } from "../../errors.ts";
import { tapsOf, type StudyLayer } from "../../relevance/study.ts";
import type { ClassImages } from "../concepts.ts";
import type { Vector } from "../linear-algebra.ts";
import { patchSize } from "../moments.ts";
import type { ResponsePass } from "../responses.ts";
import { chooseOfficialRho, chooseRho, distinctSets, RHOS } from "../rho.ts";
import type { SourceSets } from "../sets.ts";
import { setsByHeld } from "../parts.ts";
import { halfHeld, partsBySets, setsOf, type PlantedCase, type RhoChoices } from "./rules.ts";

export interface RhoRun {
  readonly pass: ResponsePass;
  readonly images: ClassImages;
  readonly signal?: AbortSignal;
  readonly onProgress?: (share: number) => void;
}

/** Sets for all rho by one rule, and the rows whose responses tell them apart. */
interface Tried {
  readonly index: readonly number[];
  /** Two rows for each distinct division. */
  readonly rows: readonly Float32Array[];
  /** [2 classes][rows][images] sums of positive responses. */
  readonly positive: number[][][];
}

/** @param cases of two concepts @returns for each */
export async function chooseRhos(cases: readonly PlantedCase[], run: RhoRun): Promise<RhoChoices[]> {
  const order = [0, 1];
  const tried = cases.map((c) => ({
    c,
    official: trial(
      c,
      RHOS.map((rho) => setsOf(c, order, "official", rho)),
    ),
    // Two tiers tell what choosing rho is worth; it doubles the work.
    symmetric: choosesRho(c)
      ? trial(
          c,
          RHOS.map((rho) => setsOf(c, order, "symmetric", rho, c.halfMeans)),
        )
      : undefined,
    tuned: choosesRho(c) && c.half !== undefined ? trial(c, setsOfAll(halfHeld(c, order))) : undefined,
  }));
  const classes = [...new Set(cases.flatMap((c) => c.plant.classes))].sort((a, b) => a - b);
  for (const [done, t] of classes.entries()) {
    run.onProgress?.(done / classes.length);
    const concerned = tried.flatMap(({ c, official, symmetric, tuned }) => {
      const concept = c.plant.classes.indexOf(t);
      if (concept < 0) return [];
      return [official, symmetric, tuned].flatMap((tried) => (tried === undefined ? [] : [{ concept, trial: tried }]));
    });
    const rows = concerned.flatMap(({ concept, trial }) =>
      trial.rows.map((row, r) => ({ row, into: must(must(trial.positive[concept], "class")[r], "row") })),
    );
    for (let from = 0; from < rows.length; from += run.pass.rows)
      await respond(rows.slice(from, from + run.pass.rows), t, run);
  }
  // Sets were made of images 0, 2, 4 ...: the others choose.
  const ours = (t: Tried): number => chooseRho([responses(t, 0, odd), responses(t, 1, odd)]).rho;
  return tried.map(({ official, symmetric, tuned }) => ({
    official: chooseOfficialRho([responses(official, 0, all), responses(official, 1, all)]).rho,
    ...(symmetric === undefined ? {} : { symmetric: ours(symmetric) }),
    ...(tuned === undefined ? {} : { tuned: ours(tuned) }),
  }));
}

/** Whether rho is chosen by our rules. */
export const choosesRho = ({ plant: { tier, parts } }: Pick<PlantedCase, "plant">): boolean =>
  (tier === "P1" || tier === "P2") && parts.length === 2;

const setsOfAll = (held: readonly Vector[]): SourceSets[] => RHOS.map((rho) => setsByHeld(held, rho));

const all = (values: readonly number[]): readonly number[] => values;
const odd = (values: readonly number[]): readonly number[] => values.filter((_, n) => n % 2 === 1);

function trial(c: PlantedCase, sets: readonly SourceSets[]): Tried {
  const { distinct, index } = distinctSets(sets);
  const rows = distinct.flatMap((set) =>
    partsBySets(c.weights, set, 2, tapsOf(c.layer)).map((part) => overAllInputs(c.layer, c.group, part)),
  );
  return { index, rows, positive: [rows.map(() => []), rows.map(() => [])] };
}

/** [I, K], zeros outside the group. */
function overAllInputs(layer: StudyLayer, group: number, row: Vector): Float32Array {
  const full = new Float32Array(layer.inChannels * tapsOf(layer));
  full.set(row, group * patchSize(layer));
  return full;
}

async function respond(
  rows: readonly { readonly row: Float32Array; readonly into: number[] }[],
  t: number,
  { pass, images, signal }: RhoRun,
): Promise<void> {
  const size = rows[0]?.row.length ?? 0;
  const weights = new Float32Array(rows.length * size);
  rows.forEach(({ row }, r) => {
    weights.set(row, r * size);
  });
  const packed = pass.pack(weights);
  for await (const batch of images.batches(t)) {
    signal?.throwIfAborted();
    const n = batch.labels.length;
    const { sums } = await pass.run(batch.tensor, n, packed);
    const width = sums.length / (2 * n);
    for (let i = 0; i < n; i++)
      rows.forEach(({ into }, r) => {
        into.push(sums[2 * (i * width + r)] ?? NaN);
      });
  }
}

/** [rho][part][image] */
function responses(
  tried: Tried,
  concept: number,
  choose: (values: readonly number[]) => readonly number[],
): (readonly number[])[][] {
  const positive = must(tried.positive[concept], "class");
  return tried.index.map((d) => [0, 1].map((part) => choose(must(positive[2 * d + part], "row"))));
}
