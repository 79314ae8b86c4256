/** All that is measured of one network with one size of batch. */
import { basename } from "node:path";
import type { Figure } from "../../channels/statistics.ts";
import type { Precision } from "../../engine/precision.ts";
import { UnbraidError } from "../../errors.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { openAdapter } from "../../gpu/dawn/adapters.ts";
import type { Context } from "../context.ts";
import type { OpenModel } from "../model.ts";
import type { NetworkResult } from "./document.ts";
import type { Peer, Task } from "./engine.ts";
import { exactly, medianOf, ratioOf, scaled } from "./figures.ts";
import { compareGradient } from "./gradient.ts";
import { layerTimes, type LayerTime } from "./layers.ts";
import { OurEngine } from "./ours.ts";
import { compare, type Rounds } from "./rounds.ts";
import { firstLogits } from "./start.ts";
import { prepareTask } from "./task.ts";
import { differenceOf, workOf, type NodeWork } from "./work.ts";

export interface NetworkOptions {
  readonly adapter: { readonly name: string; readonly kind: Task["adapter"] };
  readonly peers: readonly Peer[];
  readonly batch: number;
  readonly rounds: number;
  readonly side?: number | undefined;
  readonly layers: boolean;
  readonly gradient: boolean;
  readonly precision: Precision | undefined;
  /** Cold and warm starts, so many of each. */
  readonly starts: number;
}

/** Profiles of which each dispatch's median is taken. */
const PROFILES = 5;

type Measures = Record<string, Figure>;

export async function benchNetwork(
  context: Context,
  opened: OpenModel,
  options: NetworkOptions,
): Promise<NetworkResult> {
  const { out, signal } = context;
  const { task, shaped } = await prepareTask(
    opened,
    options.batch,
    options.side,
    options.adapter.kind,
    options.precision,
  );
  const work = workOf(shaped);
  const operations = work.reduce((n, w) => n + w.operations, 0);
  const network = basename(opened.path).replace(/\.onnx$/, "");
  const title = `${network}, batch ${task.batch}`;
  // A device of its own: the peak of its memory is this network's.
  using adapter = await openAdapter({ name: options.adapter.name });
  using gpu = await Gpu.open(adapter.adapter, adapter);
  using device = context.keep(adapter, gpu);
  const ours = await OurEngine.open(device.gpu, opened.graph, task);
  const measures: Measures = {};
  let layers: readonly LayerTime[] | undefined;
  try {
    const found = await compare(ours, options.peers, {
      ...{ task, work, rounds: options.rounds, signal },
      onPeer: (name) => {
        out.note(`${title}: opening ${name}`, "peer", { network, peer: name });
      },
      onRound: (done) => {
        out.note(`${title}: round ${done} of ${options.rounds}`, "round", { network, batch: task.batch, done });
      },
      after: async (agreeing) => {
        Object.assign(measures, memoryOf(ours));
        const profiled = await profile(ours, work, Math.min(options.rounds, PROFILES));
        if (profiled !== undefined) measures.gpu_ms_an_image = scaled(profiled.total, 1 / task.batch);
        layers = profiled?.layers;
        if (options.gradient) Object.assign(measures, await compareGradient(ours, agreeing, task, options.rounds, out));
      },
    });
    for (const { peer, difference, bound } of found.refused)
      out.warn(`${title}: outputs of ${peer} differ from ours by ${difference}, more than ${bound}: not timed`, {
        peer,
      });
    const times = timesOf(found, task.batch);
    const agreed = found.agreed.length > 0;
    if (agreed) Object.assign(times, measures, loopOf(ours), await starts(ours, options, task, work));
    return {
      ...{ network, batch: task.batch, operations_an_image: operations / task.batch },
      ...{ validated: found.agreed, refused: found.refused, absent: found.absent, measures: times },
      ...(agreed && options.layers && layers !== undefined ? { layers } : {}),
    };
  } finally {
    await ours.close();
  }
}

function timesOf({ ours, peers }: Rounds, batch: number): Measures {
  if (ours.length === 0) return {};
  const measures: Measures = { ours_ms_an_image: scaled(medianOf(ours), 1 / batch) };
  for (const [name, times] of peers) {
    measures[`${name}_ms_an_image`] = scaled(medianOf(times), 1 / batch);
    measures[`${name}_over_ours`] = ratioOf(times, ours);
  }
  return measures;
}

function memoryOf(ours: OurEngine): Measures {
  const floor = ours.weightBytes + ours.plan.liveBytes;
  return {
    gpu_peak_bytes: exactly(ours.peakBytes),
    gpu_weight_bytes: exactly(ours.weightBytes),
    gpu_live_bytes: exactly(ours.plan.liveBytes),
    gpu_peak_over_floor: exactly(ours.peakBytes / floor),
    dispatches: exactly(ours.plan.calls.length),
  };
}

function loopOf({ loopShares, threadShares }: OurEngine): Measures {
  return {
    event_loop_share: medianOf(loopShares.slice(2)), // after the runs that warm up
    ...(threadShares.length > 2 ? { main_thread_share: medianOf(threadShares.slice(2)) } : {}),
  };
}

/** GPU time; undefined where the adapter has no timestamp queries. */
async function profile(
  ours: OurEngine,
  work: readonly NodeWork[],
  times: number,
): Promise<{ total: Figure; layers: LayerTime[] } | undefined> {
  const profiles: number[][] = [];
  const { output } = await ours.run(1);
  try {
    for (let k = 0; k < times; k++) {
      const found = await ours.profile();
      if (!differenceOf(found.output, output, work, ours.precision).holds) return undefined;
      profiles.push(found.times);
    }
  } catch (error) {
    if (error instanceof UnbraidError && error.code === "FEATURE_MISSING") return undefined;
    throw error;
  }
  const total = medianOf(profiles.map((p) => p.reduce((a, b) => a + b, 0) / 1e6));
  return { total, layers: layerTimes(ours.plan.calls, profiles, work) };
}

/** A start whose first logits are not ours is a fault of ours. */
async function starts(
  ours: OurEngine,
  options: NetworkOptions,
  task: Task,
  work: readonly NodeWork[],
): Promise<Measures> {
  const { output } = await ours.run(1);
  const measures: Measures = {};
  for (const kind of ["cold", "warm"] as const) {
    const times: number[] = [];
    for (let k = 0; k < options.starts; k++) {
      const started = await firstLogits(task, options.adapter.name, kind === "cold");
      if (!differenceOf(started.output, output, work, ours.precision).holds)
        throw new Error(`a ${kind} start gave other logits`);
      times.push(started.ms);
    }
    if (times.length > 0) measures[`${kind}_start_ms`] = medianOf(times);
  }
  return measures;
}
