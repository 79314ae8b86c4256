/** What readies the choices of a plan before it is made (engine/tuner.ts), by device: pages that do not tune need no more. */
import type { Gpu } from "../gpu/gpu.ts";
import type { Graph } from "../graph/graph.ts";
import type { TileChoices } from "../kernels/tile-table.ts";
import type { PlanRequest } from "./plan.ts";

export interface PlanTuner {
  /** Measures what the plan needs and was not measured. */
  tune(graph: Graph, request: PlanRequest): Promise<TileChoices>;
}

const tuners = new WeakMap<Gpu, PlanTuner>();

/** From now on every session on `gpu` has its plans tuned before they are made. */
export function attachTuner(gpu: Gpu, tuner: PlanTuner): void {
  tuners.set(gpu, tuner);
}

export const tunerOf = (gpu: Gpu): PlanTuner | undefined => tuners.get(gpu);
