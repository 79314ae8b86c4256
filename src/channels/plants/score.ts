/** The planted benchmark: every rule on every plant, from evidence, marked on held-out images. */
import { Session } from "../../engine/session.ts";
import { must } from "../../errors.ts";
import { tapsOf, type StudyLayer } from "../../relevance/study.ts";
import { UnitFilters } from "../additive.ts";
import type { ClassImages } from "../concepts.ts";
import type { Vector } from "../linear-algebra.ts";
import { patchSize, type GroupMoments, type MomentSums } from "../moments.ts";
import { MomentPass } from "../moments-pass.ts";
import { pause } from "../pause.ts";
import { Random } from "../random.ts";
import { ResponsePass } from "../responses.ts";
import { tune } from "../tuned.ts";
import { chooseRhos, choosesRho } from "./choose-rho.ts";
import { detect, type Detection } from "./detect.ts";
import { gatherHalf, gatherImages, type LayerImages } from "./images.ts";
import { testInserted, type Inserted, type InsertedRun } from "./inserted.ts";
import { judge } from "./judge.ts";
import { checkPlants, groupOf, truthOf, type Plant, type Tier } from "./plant.ts";
import { plantedCase, type GroupEvidence, type PlantedCase } from "./rules.ts";
import { summarise, type JudgedPlant, type TierFigures } from "./summary.ts";
import { FilterBank } from "./traits.ts";

export interface ScoreRun extends Omit<InsertedRun, "images" | "moments" | "onProgress"> {
  readonly plants: readonly Plant[];
  /** For messages. */
  readonly name: string;
  /** Images that rules may learn from, and those that they are marked on. */
  readonly evidence: ClassImages;
  readonly heldOut: ClassImages;
  readonly seed: number;
  readonly onStage?: (stage: string, share: number) => void;
}

export interface Score {
  readonly images: { readonly evidence: number; readonly held_out: number };
  readonly tiers: Partial<Record<Tier, TierFigures>>;
  /** null where the layer has too few channels, or no plants of P2. */
  readonly detection: Detection | null;
  /** null without plants of P5. */
  readonly inserted: Inserted | null;
}

/** Bytes that moments may take: as many classes keep their own as fit. */
export const MOMENT_BYTES = 2 ** 31;
const ROWS = 320;
/** Of so many plants one is also split with its concepts in another order. */
const SWAPPED = 3;

/** Classes that keep second moments of their own: all, or as many as fit, evenly. */
export function keptClasses(layer: StudyLayer, groups: number, withImages: readonly number[]): number[] {
  const matrix = 8 * patchSize(layer) ** 2 * groups;
  const fit = Math.max(0, Math.floor((MOMENT_BYTES / matrix - 2) / 2));
  if (withImages.length <= fit) return [...withImages];
  return Array.from({ length: fit }, (_, k) => must(withImages[Math.floor((k * withImages.length) / fit)], "class"));
}

/** @throws UnbraidError PLANTS_FORMAT, PLANT_IMAGES, PLANT_CHANNELS, MOMENTS_CLASS, MOMENTS_MEMORY, RHO_IMAGES, NOT_FINITE */
export async function scorePlants(run: ScoreRun): Promise<Score> {
  const { geometry, plants, labels } = run;
  checkPlants(geometry, plants, labels.length, run.name);
  const groups = [...new Set(plants.map((p) => groupOf(geometry, p.parts[0]?.channel ?? 0)))].sort((a, b) => a - b);
  const seen = await gather(run, groups);
  const sums = must(seen.sums, "moments");
  const moments = new Map(groups.map((g) => [g, sums.group(g)]));
  const unseen = await gather(run, undefined);

  const evidence = new Map<number, GroupEvidence>();
  for (const [g, m] of moments) evidence.set(g, await evidenceOf(run, g, m));
  const halves = new Map(
    groups.flatMap((g) =>
      seen.half === undefined
        ? []
        : [[g, halfOf(run, g, seen.half.group(g), must(evidence.get(g), "evidence"))] as const],
    ),
  );
  const cases = await casesOf(run, { evidence, halves }, seen.images);
  const judged: JudgedPlant[] = [];
  const random = new Random(run.seed);
  for (const [k, c] of cases.entries()) {
    run.signal?.throwIfAborted();
    run.onStage?.("plants judged", k / cases.length);
    judged.push({ plant: c.plant, marks: judge(c, unseen.images, random.fork(), k % SWAPPED === 0) });
    // What rules share of a plant is not needed any more.
    c.directions.clear();
    c.tuned.clear();
    if (k % 16 === 15) await pause();
  }
  const banks = new Map(
    groups.map((g) => [g, new FilterBank(g, must(moments.get(g), "moments"), seen.images, rowsOf(geometry, g))]),
  );
  const { positions, seed } = run;
  const detection = detect({ layer: geometry, positions, evidence, banks, plants, seed });
  const inserted = await testInserted(plants, {
    ...{ ...run, images: run.evidence, moments },
    onProgress: (share) => run.onStage?.("networks with plants in them", share),
  });
  return {
    images: { evidence: seen.images.length, held_out: unseen.images.length },
    tiers: summarise(judged, random.fork()),
    detection: detection ?? null,
    inserted: inserted ?? null,
  };
}

interface Gathered {
  readonly images: LayerImages;
  readonly sums: MomentSums | undefined;
  /** Of every second image of each class, where rho is chosen. */
  readonly half: MomentSums | undefined;
}

/** @param groups undefined for the held-out images */
async function gather(run: ScoreRun, groups: readonly number[] | undefined): Promise<Gathered> {
  const { layer, geometry, input, imageShape, batch, positions, labels } = run;
  const images = groups === undefined ? run.heldOut : run.evidence;
  using session = new Session(run.gpu, run.graph);
  using pass = await MomentPass.open(session, { layer, geometry, input, imageShape, batch, groups: groups ?? [] });
  const there = labels.flatMap((_, t) => (images.count(t) > 0 ? [t] : []));
  const total = there.reduce((sum, t) => sum + images.count(t), 0);
  const options = {
    ...{ layer: geometry, positions, classes: labels.length, kept: keptClasses(geometry, groups?.length ?? 1, there) },
    ...{ pass, groups: groups ?? [], images, memory: MOMENT_BYTES },
    ...(run.signal === undefined ? {} : { signal: run.signal }),
    onProgress: (done: number) => run.onStage?.(groups === undefined ? "held-out images" : "images", done / total),
  };
  const gathered = await gatherImages(options);
  const choosing = groups !== undefined && run.plants.some((plant) => choosesRho({ plant }));
  return { ...gathered, half: choosing ? await gatherHalf(options, gathered.read) : undefined };
}

/** [C/groups][D] in the layer's orientation. */
const rowsOf = (layer: StudyLayer, group: number): Vector[] => {
  const each = layer.outChannels / layer.groups;
  return Array.from({ length: each }, (_, k) => {
    const parts = [{ channel: group * each + k, scale: 1 }];
    return must(truthOf(layer, { tier: "P0", seed: 0, parts, classes: [] })[0], "row");
  });
};

async function evidenceOf(run: ScoreRun, group: number, moments: GroupMoments): Promise<GroupEvidence> {
  const rows = rowsOf(run.geometry, group);
  const filters = new UnitFilters(moments, rows);
  const tuning = await tune({
    ...{ moments, filters, rows, taps: tapsOf(run.geometry) },
    random: new Random(7919 + run.seed),
    ...(run.signal === undefined ? {} : { signal: run.signal }),
    onProgress: (share) => run.onStage?.("plants to fit on", share),
  });
  return { moments, filters, tuning };
}

/** The twelve weights of directions are those of all images: they are fitted on channels that the plant is not made of. */
const halfOf = (run: ScoreRun, group: number, moments: GroupMoments, { tuning }: GroupEvidence): GroupEvidence => ({
  moments,
  filters: new UnitFilters(moments, rowsOf(run.geometry, group)),
  tuning,
});

/** Plants with true parts, and rho where rules want it. */
async function casesOf(
  run: ScoreRun,
  { evidence, halves }: Record<"evidence" | "halves", ReadonlyMap<number, GroupEvidence>>,
  images: LayerImages,
): Promise<PlantedCase[]> {
  const { geometry, positions, layer, input, imageShape, batch } = run;
  const means = new Map<string, Vector>();
  const half = (group: number, t: number): Vector => {
    const key = `${group},${t}`;
    const there =
      means.get(key) ??
      images.meanPatch(
        group,
        images.ofClass(t).filter((_, n) => n % 2 === 0),
      );
    means.set(key, there);
    return there;
  };
  // P5 is P2 as far as parts are concerned: what the layer reads is the same.
  const cases = run.plants
    .filter((p) => p.tier !== "P0" && p.tier !== "P5")
    .map((plant) => {
      const group = groupOf(geometry, plant.parts[0]?.channel ?? 0);
      const halfMeans = plant.classes.map((t) => half(group, t));
      const known = halves.get(group);
      const other = { positions, halfMeans, ...(known === undefined ? {} : { half: known }) };
      return plantedCase(plant, geometry, must(evidence.get(group), "evidence"), other);
    });
  const pairs = cases.filter((c) => c.truth.length === 2);
  if (pairs.length === 0) return cases;
  using session = new Session(run.gpu, run.graph);
  using pass = await ResponsePass.open(session, { layer, geometry, input, imageShape, batch, rows: ROWS });
  const rhos = await chooseRhos(pairs, {
    ...{ pass, images: run.evidence },
    ...(run.signal === undefined ? {} : { signal: run.signal }),
    onProgress: (share) => run.onStage?.("rho chosen", share),
  });
  const chosen = new Map(pairs.map((c, k) => [c, rhos[k]]));
  return cases.map((c) => {
    const rho = chosen.get(c);
    return rho === undefined ? c : { ...c, rhos: rho };
  });
}
