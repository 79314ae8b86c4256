/** Marks of many plants as figures with intervals over plants, and by seed. */
import type { Random } from "../random.ts";
import { bootstrap, median, proportion, type Figure } from "../statistics.ts";
import type { Marks, PlantMarks, SplitMarks } from "./judge.ts";
import type { Plant, Tier } from "./plant.ts";
import { RULES } from "./rules.ts";

export interface JudgedPlant {
  readonly plant: Plant;
  readonly marks: PlantMarks;
}

/** A figure with its value for each seed. */
export interface SeededFigure extends Figure {
  readonly seeds: readonly number[];
}

/** Medians over plants. */
export interface RuleFigures {
  readonly correlation: SeededFigure;
  readonly leakage: SeededFigure;
  /** correlation - leakage of a plant. */
  readonly difference: SeededFigure;
  /** The parts w/K being 1. */
  readonly squared_error: SeededFigure;
  /** (correlation - random's) / (oracle's - random's), of the medians. */
  readonly recovery: SeededFigure;
  /** Of tier P1. */
  readonly set_accuracy?: SeededFigure;
  /** Share of plants. */
  readonly swap_invariant?: Figure;
}

export interface ReferenceFigures {
  readonly correlation: SeededFigure;
  readonly leakage: SeededFigure;
  readonly squared_error: SeededFigure;
}

export interface TierFigures {
  readonly plants: number;
  readonly seeds: readonly number[];
  readonly rules: Readonly<Record<string, RuleFigures>>;
  readonly oracle: ReferenceFigures;
  readonly random: ReferenceFigures;
}

export function summarise(judged: readonly JudgedPlant[], random: Random): Partial<Record<Tier, TierFigures>> {
  const tiers = [...new Set(judged.map((j) => j.plant.tier))].sort();
  return Object.fromEntries(
    tiers.map((tier) => [
      tier,
      tierFigures(
        judged.filter((j) => j.plant.tier === tier),
        random,
      ),
    ]),
  );
}

function tierFigures(judged: readonly JudgedPlant[], random: Random): TierFigures {
  const seeds = [...new Set(judged.map((j) => j.plant.seed))].sort((a, b) => a - b);
  const groups = seeds.map((seed) => judged.filter((j) => j.plant.seed === seed));
  const figure = (of: (list: readonly JudgedPlant[]) => number): SeededFigure => ({
    ...bootstrap(
      groups.map((g) => g.length),
      (units) => of(units.flatMap((indices, g) => Array.from(indices).flatMap((i) => groups[g]?.[i] ?? []))),
      { random: random.fork(), resamples: 500 },
    ),
    seeds: groups.map(of),
  });
  const middle = (of: (j: JudgedPlant) => number): SeededFigure => figure((list) => median(list.map(of)));
  const reference = (of: (m: PlantMarks) => Marks): ReferenceFigures => ({
    correlation: middle((j) => of(j.marks).correlation),
    leakage: middle((j) => of(j.marks).leakage),
    squared_error: middle((j) => of(j.marks).error),
  });
  const names = RULES.map((r) => r.name).filter((name) => judged.every((j) => j.marks.rules.has(name)));
  return {
    plants: judged.length,
    seeds,
    rules: Object.fromEntries(names.map((name) => [name, ruleFigures(judged, name, figure)])),
    oracle: reference((m) => m.oracle),
    random: reference((m) => m.random),
  };
}

function ruleFigures(
  judged: readonly JudgedPlant[],
  name: string,
  figure: (of: (list: readonly JudgedPlant[]) => number) => SeededFigure,
): RuleFigures {
  const marks = ({ marks: m }: JudgedPlant): SplitMarks | undefined => m.rules.get(name);
  const middle = (list: readonly JudgedPlant[], of: (m: SplitMarks) => number | undefined): number =>
    median(
      list.map((j) => {
        const m = marks(j);
        return (m === undefined ? undefined : of(m)) ?? NaN;
      }),
    );
  const recovery = (list: readonly JudgedPlant[]): number => {
    const [oracle, lowest] = [
      median(list.map((j) => j.marks.oracle.correlation)),
      median(list.map((j) => j.marks.random.correlation)),
    ];
    return oracle > lowest ? (middle(list, (m) => m.correlation) - lowest) / (oracle - lowest) : NaN;
  };
  const swaps = judged.flatMap((j) => marks(j)?.swapInvariant ?? []);
  return {
    correlation: figure((list) => middle(list, (m) => m.correlation)),
    leakage: figure((list) => middle(list, (m) => m.leakage)),
    difference: figure((list) => middle(list, (m) => m.correlation - m.leakage)),
    squared_error: figure((list) => middle(list, (m) => m.error)),
    recovery: figure(recovery),
    ...(judged.every((j) => marks(j)?.setAccuracy !== undefined)
      ? { set_accuracy: figure((list) => middle(list, (m) => m.setAccuracy)) }
      : {}),
    ...(swaps.length === 0 ? {} : { swap_invariant: proportion(swaps.filter(Boolean).length, swaps.length) }),
  };
}
