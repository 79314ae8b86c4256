/**
 * Which tiles convolutions run with, measured on the device at hand. Every tile gives the same bits (conv-fours-shader.ts), so
 * that tuning changes how long a plan takes and nothing else; Winograd's algorithm, which rounds differently, is no choice
 * of the tuner's.
 */
import { UnbraidError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { Graph } from "../graph/graph.ts";
import { shaderOf, type ProductShape } from "../kernels/conv-fours.ts";
import { tileName, type ConvTile } from "../kernels/conv-fours-shader.ts";
import { candidateTiles, ranked, tileFor } from "../kernels/conv-tiles.ts";
import { layerKey, TileTable, type TileChoices } from "../kernels/tile-table.ts";
import { makePlan, type PlanRequest } from "./plan.ts";
import { timeTiles } from "./time-tiles.ts";
import type { PlanTuner } from "./tuners.ts";

/** Candidates of `once`, the cost model's own choice among them: each may be a pipeline to compile. */
const FEW = 3;
/** What a tile must save before it replaces the cost model's: less is noise. */
const GAIN = 0.05;
/** Errors that say that a product is too large to be measured beside what there is, or a shader not for this adapter. */
const NOT_HERE = new Set(["GPU_MEMORY", "GPU_LIMIT", "SHADER_REFUSED"]);

export interface TunerOptions {
  /** `few`: the candidates that the cost model finds cheapest; otherwise all that the adapter can run. */
  readonly candidates?: "few" | "all";
  /** What is known already: it is not measured again. */
  readonly table?: TileTable;
  readonly signal?: AbortSignal;
  /** Before measuring. @param products how many are to be measured */
  readonly begin?: (products: number) => void;
  /** After measuring, also where it was interrupted: time to keep the table. */
  readonly end?: (table: TileTable) => void;
}

/** The code of all that the tuner may choose among: what was measured holds for this code only. */
export const tunedCode = (subgroups: number): string =>
  candidateTiles(subgroups)
    .flatMap((t) => [t, { ...t, point: true }])
    .flatMap((t) => (t.share === "memory" ? [t] : [1, 2, 3, 4].map((channels) => ({ ...t, channels }))))
    .flatMap((t) => [t, ...(t.share === "broadcast" ? [{ ...t, staged: 1 }] : [])])
    .map((t) => shaderOf(t).code)
    .join("\n");

export class Tuner implements PlanTuner {
  readonly table: TileTable;
  readonly #gpu: Gpu;
  readonly #options: TunerOptions;
  /** Measurements take turns: two at once would disturb each other. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(gpu: Gpu, options: TunerOptions = {}) {
    this.#gpu = gpu;
    this.#options = options;
    this.table = options.table ?? new TileTable();
  }

  /** @throws UnbraidError what planning and the device throw; the signal's reason */
  tune(graph: Graph, request: PlanRequest): Promise<TileChoices> {
    const mine = this.#turn.then(() => this.#tune(graph, request));
    this.#turn = mine.catch(() => undefined);
    return mine;
  }

  async #tune(graph: Graph, request: PlanRequest): Promise<TileChoices> {
    const missing = productsOf(graph, request, this.#gpu).filter((p) => this.table.tile(p) === undefined);
    if (missing.length === 0) return this.table;
    const { signal, begin, end } = this.#options;
    begin?.(missing.length);
    try {
      for (const p of missing) {
        signal?.throwIfAborted();
        await this.#measure(p);
      }
    } finally {
      end?.(this.table);
    }
    return this.table;
  }

  async #measure(p: ProductShape): Promise<void> {
    const { subgroups } = this.#gpu;
    const width = this.table.outputs(p);
    const usual = tileFor({ subgroups, tiles: { outputs: () => width, tile: () => undefined } }, p);
    const others = ranked(candidateTiles(subgroups), p).filter(
      (t) => (width === undefined ? t.outputs < 2 * Math.max(4, p.outputs) : t.outputs === width) && !same(t, usual),
    );
    const tiles = [usual, ...(this.#options.candidates === "all" ? others : others.slice(0, FEW - 1))];
    try {
      const times = await timeTiles(this.#gpu, p, tiles);
      const best = times.indexOf(Math.min(...times));
      const gains = (times[best] ?? Infinity) < (1 - GAIN) * (times[0] ?? 0);
      this.table.set(p, (gains ? tiles[best] : undefined) ?? usual);
    } catch (error) {
      if (!(error instanceof UnbraidError && NOT_HERE.has(error.code))) throw error;
    }
  }
}

const same = (a: ConvTile, b: ConvTile): boolean => tileName(a) === tileName(b);

/** The distinct products of a plan's convolutions; those that extensions add keep to the cost model. */
function productsOf(graph: Graph, request: PlanRequest, gpu: Gpu): ProductShape[] {
  const network: PlanRequest = { ...request, extend: () => undefined, follow: {} };
  const products = new Map<string, ProductShape>();
  const tiles: TileChoices = {
    outputs: () => undefined,
    tile: (p) => {
      products.set(`${layerKey(p)}: ${p.pixels}`, p);
      return undefined;
    },
  };
  makePlan(graph, network, { subgroups: gpu.subgroups, workgroupBytes: gpu.workgroupBytes, tiles });
  return [...products.values()].filter(({ pixels }) => pixels > 0);
}
