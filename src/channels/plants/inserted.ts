/** What the original's test for polysemantic channels says of plants that sit in the network (tier P5). */
import { Session } from "../../engine/session.ts";
import { must } from "../../errors.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import type { ConvLayer } from "../../graph/conv-layers.ts";
import type { Graph } from "../../graph/graph.ts";
import { importantChannels } from "../../relevance/importance.ts";
import { RelevancePass } from "../../relevance/pass.ts";
import { tapsOf, type StudyLayer } from "../../relevance/study.ts";
import type { ClassImages } from "../concepts.ts";
import { cosine } from "../cosine.ts";
import type { GroupMoments } from "../moments.ts";
import { mean, proportion, type Figure } from "../statistics.ts";
import { networksOf, PLANTED_BIAS, plantedGraph, slotOf } from "./insert.ts";
import { groupOf, type Plant } from "./plant.ts";
import { arvOf } from "./rules.ts";

export interface InsertedRun {
  readonly gpu: Gpu;
  readonly graph: Graph;
  readonly layer: ConvLayer;
  readonly geometry: StudyLayer;
  readonly input: string;
  readonly logits: string;
  readonly logitCount: number;
  /** [T] logit of each class. */
  readonly labels: readonly number[];
  readonly imageShape: readonly number[];
  readonly batch: number;
  readonly positions: number;
  readonly images: ClassImages;
  readonly moments: ReadonlyMap<number, GroupMoments>;
  readonly signal?: AbortSignal;
  readonly onProgress?: (share: number) => void;
}

/** At the paper's settings: tau 0.03, p 0.75, gamma 0.5. */
export interface Inserted {
  readonly networks: number;
  /** Plants that are relevant for the class of the part whose place they took; of the other; of both. */
  readonly relevant_first: Figure;
  readonly relevant_second: Figure;
  readonly relevant_both: Figure;
  /** Plants that are found polysemantic between their two classes. */
  readonly found: Figure;
  /** Other channels of these networks that are found polysemantic between any two. */
  readonly found_others: Figure;
  /** Channels of the network as it is that are. */
  readonly found_before: Figure;
  /** Of the network on the evidence, as it is and with plants in it (mean over networks). */
  readonly accuracy: { readonly before: number; readonly after: number };
}

const TAU = 0.03;
const P = 0.75;
const GAMMA = 0.5;

interface Observed {
  /** [T][C] images of a class on which a channel is important. */
  readonly counts: readonly Uint32Array[];
  readonly right: number;
  readonly images: number;
}

/** undefined where there are no plants of P5. */
export async function testInserted(plants: readonly Plant[], run: InsertedRun): Promise<Inserted | undefined> {
  const inserted = plants.filter((p) => p.tier === "P5");
  if (inserted.length === 0) return undefined;
  const channels = run.geometry.outChannels;
  // An eighth of the channels at most, so that the network stays what it was.
  const networks = networksOf(inserted, Math.max(1, Math.floor(channels / 8)));
  const before = await observe(run, run.graph);
  const relevant: (readonly [boolean, boolean])[] = [];
  const found: boolean[] = [];
  let [others, foundOthers] = [0, 0];
  const accuracies: number[] = [];
  for (const [k, members] of networks.entries()) {
    run.onProgress?.((k + 1) / (networks.length + 1));
    const slots = members.map((plant) => slotOf(run.geometry, run.moments, plant));
    const after = await observe(run, plantedGraph(run.graph, run.layer, slots));
    accuracies.push(after.right / after.images);
    members.forEach((plant, m) => {
      const { channel, row } = must(slots[m], "slot");
      const [first, second] = plant.classes.map((t) => isRelevant(run, after, t, channel));
      relevant.push([first === true, second === true]);
      const [t1 = 0, t2 = 0] = plant.classes;
      found.push(first === true && second === true && unlike(run, row, channel, t1, t2));
    });
    const places = new Set(slots.map((s) => s.channel));
    for (let c = 0; c < channels; c++) {
      if (places.has(c)) continue;
      others++;
      if (anyPair(run, after, c)) foundOthers++;
    }
  }
  const share = (of: (r: readonly [boolean, boolean]) => boolean): Figure =>
    proportion(relevant.filter(of).length, relevant.length);
  const own = Array.from({ length: channels }, (_, c) => anyPair(run, before, c));
  return {
    networks: networks.length,
    relevant_first: share(([first]) => first),
    relevant_second: share(([, second]) => second),
    relevant_both: share(([first, second]) => first && second),
    found: proportion(found.filter(Boolean).length, found.length),
    found_others: proportion(foundOthers, others),
    found_before: proportion(own.filter(Boolean).length, channels),
    accuracy: { before: before.right / before.images, after: mean(accuracies) },
  };
}

async function observe(run: InsertedRun, graph: Graph): Promise<Observed> {
  const { geometry, layer, input, logits, imageShape, logitCount, batch, labels } = run;
  using session = new Session(run.gpu, graph);
  using pass = await RelevancePass.open(session, {
    ...{
      layers: [{ layer: asPlanted(layer, graph), geometry }],
      input,
      logits,
      imageShape,
      logitCount,
      batch,
      taus: [TAU],
    },
  });
  const counts = labels.map(() => new Uint32Array(geometry.outChannels));
  let [right, images] = [0, 0];
  for (const [t, label] of labels.entries()) {
    if (run.images.count(t) === 0) continue;
    for await (const b of run.images.batches(t)) {
      run.signal?.throwIfAborted();
      const n = b.labels.length;
      const got = await pass.run(b.tensor, new Uint32Array(n).fill(label));
      const relevance = must(got.layers[0], "layer").relevance;
      for (let i = 0; i < n; i++) {
        const hits = importantChannels(
          relevance.subarray(i * geometry.outChannels, (i + 1) * geometry.outChannels),
          TAU,
          "exact",
        );
        const own = must(counts[t], "class");
        hits.forEach((hit, c) => {
          if (hit) own[c] = (own[c] ?? 0) + 1;
        });
        const row = got.logits.subarray(i * logitCount, (i + 1) * logitCount);
        if (row.indexOf(Math.max(...row)) === label) right++;
      }
      images += n;
    }
  }
  return { counts, right, images };
}

/** Relevance is then taken at z less its bias: what merging a BatchNormalization gives is no longer the planted network's. */
const asPlanted = (layer: ConvLayer, graph: Graph): ConvLayer => ({
  ...layer,
  bias: graph.constants.get(PLANTED_BIAS) ?? layer.bias,
  norm: undefined,
});

const isRelevant = (run: InsertedRun, o: Observed, t: number, channel: number): boolean => {
  const images = run.images.count(t);
  return images > 0 && (o.counts[t]?.[channel] ?? 0) >= P * images * (1 - 1e-12);
};

/** 0 <= cosine of the ARVs < gamma. */
function unlike(run: InsertedRun, row: ArrayLike<number>, channel: number, t1: number, t2: number): boolean {
  const { classMeans } = must(run.moments.get(groupOf(run.geometry, channel)), "moments");
  const w = Float64Array.from(row);
  const [a, b] = [t1, t2].map((t) => arvOf(w, must(classMeans[t], "class"), tapsOf(run.geometry), run.positions));
  const value = a === undefined || b === undefined ? NaN : cosine(a, b);
  return value >= 0 && value < GAMMA;
}

function anyPair(run: InsertedRun, o: Observed, channel: number): boolean {
  const { geometry } = run;
  const size = geometry.weights.length / geometry.outChannels;
  const row = geometry.weights.subarray(channel * size, (channel + 1) * size);
  const classes = run.labels.flatMap((_, t) => (isRelevant(run, o, t, channel) ? [t] : []));
  return classes.some((a, i) => classes.slice(i + 1).some((b) => unlike(run, row, channel, a, b)));
}
