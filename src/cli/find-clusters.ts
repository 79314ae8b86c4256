/** `find --concepts cluster`: concepts of channels without labels, in a second pass over the images (docs/find.md). */
import { basename } from "node:path";
import { clusterChannel, type ChannelClusters } from "../channels/clusters.ts";
import { findPairs } from "../channels/find.ts";
import { studyItems } from "../channels/second-pass.ts";
import { TopImages } from "../channels/top-images.ts";
import { Session } from "../engine/session.ts";
import { must, UnbraidError } from "../errors.ts";
import { sha256 } from "../files.ts";
import { convLayers } from "../graph/conv-layers.ts";
import type { ImageItem } from "../images/folder.ts";
import { assertStudyMatches } from "../relevance/merge.ts";
import { RelevancePass } from "../relevance/pass.ts";
import type { Study } from "../relevance/study.ts";
import { usageError } from "./arguments.ts";
import type { Context } from "./context.ts";
import { numberOrNull } from "./find-report.ts";
import { fitRelevance } from "./fit-batch.ts";
import { imageBatches, imageNetwork, imagesOption } from "./images.ts";
import { openModel, type OpenModel } from "./model.ts";
import { Progress } from "./progress.ts";
import { readRegularFile } from "./read-file.ts";
import { readWholeStudy, tauOption } from "./studies.ts";
import { showBytes, table } from "./table.ts";

/** Vectors kept in memory at most. */
const MOST_BYTES = 2 ** 30;
/** Images of each cluster that the table shows. */
const SHOWN = 3;

export async function findClusters(context: Context): Promise<undefined> {
  const { args, out } = context;
  const modelPath = args.required("model", "the model that the study was made of: --concepts cluster reads images");
  const target = args.text("out");
  if (target !== undefined) context.checkWritable(target);
  const studyPath = args.positional(0);
  const study = readWholeStudy(context, studyPath, args.text("layer"));
  const opened = openModel(context, modelPath);
  assertStudyMatches(study, { modelDigest: opened.digest() });
  const channels = channelsOf(context, study);
  const images = await imagesOf(context, study);
  const top = topOption(context, study, channels, images.items.length);
  const kept = await mostRelevant(context, opened, study, images, new TopImages(study.meta.layer, channels, top));

  const progress = new Progress(out, "channels", channels.length);
  const most = args.number("clusters", { integer: true, least: 1, most: 30 }) ?? 5;
  const found: ChannelClusters[] = [];
  for (const channel of channels) {
    context.signal.throwIfAborted();
    found.push(clusterChannel(channel, kept.of(channel), { seed: channel, most }));
    progress.update(found.length);
    // Clustering is long work without a pause: ctrl-C is heard between channels.
    await new Promise((resume) => setImmediate(resume));
  }
  const document = toJson(study, studyPath, top, found);
  if (target !== undefined) context.writeFile(target, `${JSON.stringify(document, undefined, 1)}\n`);
  await out.result(document, describe(study, found, target));
  return undefined;
}

/** --channel, or every channel that is relevant for a class. */
function channelsOf({ args, out }: Context, study: Study): number[] {
  const { outChannels, inChannels, groups, name } = study.meta.layer;
  if (inChannels === groups)
    throw new UnbraidError(
      "unsupported",
      "CHANNEL_DEPTHWISE",
      `layer ${name} is depthwise: each channel reads one input channel, so its images cannot differ in which inputs speak`,
      "Choose a layer whose channels read several input channels.",
    );
  const given = args.numbers("channel", { integer: true, least: 0 });
  const outside = given.find((c) => c >= outChannels);
  if (outside !== undefined)
    throw usageError(
      "CHANNEL_RANGE",
      `there is no channel ${outside}: layer ${name} has ${outChannels}`,
      `Pass one from 0 to ${outChannels - 1}.`,
    );
  if (given.length > 0) return [...new Set(given)].sort((a, b) => a - b);
  const p = args.number("p");
  const { relevant } = findPairs(study, { tau: tauOption(args, study), ...(p === undefined ? {} : { p }) });
  const channels = relevant.flatMap((classes, c) => (classes.length > 0 ? [c] : []));
  out.note(`${channels.length} of ${outChannels} channels are relevant for a class, and are clustered`);
  if (channels.length > 0) return channels;
  throw new UnbraidError(
    "input",
    "CHANNEL_NONE",
    "no channel is relevant for a class with these settings",
    "Name channels with --channel, or lower --tau or --p.",
  );
}

interface Images {
  readonly root: string;
  readonly items: readonly ImageItem[];
}

async function imagesOf(context: Context, study: Study): Promise<Images> {
  const { root, list } = await imagesOption(context, false);
  const { items, studyImages } = studyItems(study, list, []);
  if (items.length === 0)
    throw new UnbraidError(
      "input",
      "IMAGES_CLASSES_OTHER",
      `no sub-folder of ${root} is called like a class of the study (${study.meta.classes.slice(0, 3).join(", ")}, ...)`,
      "Give the folder that the study was made of, or one with the same sub-folders.",
    );
  if (!studyImages) context.out.note("the images are not exactly those of the study");
  return { root, items };
}

/** --top, or a tenth of the images, from 50 to 500. @throws UnbraidError CLUSTER_MEMORY */
function topOption({ args }: Context, study: Study, channels: readonly number[], images: number): number {
  const top =
    args.number("top", { integer: true, least: 1, most: 1_000_000 }) ??
    Math.min(500, Math.max(50, Math.round(images / 10)));
  const bytes = TopImages.bytes(study.meta.layer, channels, Math.min(top, images));
  if (bytes <= MOST_BYTES) return top;
  throw usageError(
    "CLUSTER_MEMORY",
    `${top} images of each of ${channels.length} channels take ${showBytes(bytes)}, and ${showBytes(MOST_BYTES)} is the most`,
    "Name some channels with --channel, or lower --top.",
  );
}

/** The second pass: relevance and vectors of every image, of which the most relevant stay. */
async function mostRelevant(
  context: Context,
  opened: OpenModel,
  study: Study,
  { root, items }: Images,
  top: TopImages,
): Promise<TopImages> {
  const whole = await imageNetwork(context, opened, root, items);
  const { layer: geometry, taus, labels } = study.meta;
  const layer = must(
    convLayers(whole.shaped).find((l) => l.node.name === geometry.nodeName),
    `Conv node ${geometry.nodeName}`,
  );
  using device = await context.openDevice();
  const { network, options } = fitRelevance(context, device, opened.graph, whole, {
    layers: [{ layer, geometry }],
    taus,
  });
  using session = new Session(device.gpu, opened.graph);
  using pass = await RelevancePass.open(session, options);
  const progress = new Progress(context.out, "images", items.length);
  for await (const batch of imageBatches(context, network, { root, items })) {
    context.signal.throwIfAborted();
    const classes = Array.from(batch.labels);
    const { layers } = await pass.run(
      batch.tensor,
      classes.map((t) => must(labels[t], "logit of a class")),
    );
    const { relevance, tapSums } = must(layers[0], "layer");
    top.add({ paths: batch.items.map((item) => item.path), labels: classes, relevance, tapSums });
    progress.update(batch.next);
  }
  device.gpu.check();
  return top;
}

/** How many images of each class, most first. */
function composition(study: Study, labels: readonly number[]): { class: number; name: string; images: number }[] {
  const counts = new Map<number, number>();
  for (const t of labels) counts.set(t, (counts.get(t) ?? 0) + 1);
  return [...counts]
    .map(([t, images]) => ({ class: t, name: study.meta.classes[t] ?? "", images }))
    .sort((a, b) => b.images - a.images || a.class - b.class);
}

/** docs/clusters-format.md */
function toJson(study: Study, studyPath: string, top: number, found: readonly ChannelClusters[]): unknown {
  return {
    version: 1,
    layer: study.meta.layer.name,
    model: { file: study.meta.model.file, sha256: study.meta.model.sha256 },
    study: { file: basename(studyPath), sha256: sha256(readRegularFile(studyPath)) },
    top,
    channels: found.map(({ channel, images, count, clusters }) => ({
      channel,
      images,
      concepts: count.k,
      p_value: numberOrNull(count.p),
      p_stability: numberOrNull(count.pStability),
      p_ellipse: numberOrNull(count.pEllipse),
      tried: count.tried.map(({ k, stability, nullStability }) => ({
        clusters: k,
        stability,
        null_stability: nullStability,
      })),
      clusters: clusters.map((cluster, k) => ({
        name: `cluster ${k + 1}`,
        size: cluster.images.length,
        classes: composition(
          study,
          cluster.images.map((i) => i.label),
        ),
        vector: [...cluster.vector],
        images: cluster.images.map((i) => i.path),
      })),
    })),
  };
}

function describe(study: Study, found: readonly ChannelClusters[], target: string | undefined): string {
  const rows = found.flatMap(({ channel, images, count, clusters }) =>
    clusters.map((cluster, k) => {
      const tried = count.tried.find((t) => t.k === Math.max(2, count.k));
      const classes = composition(
        study,
        cluster.images.map((i) => i.label),
      );
      const own = [
        cluster.images.length,
        classes
          .slice(0, SHOWN)
          .map((c) => `${c.name} ${c.images}`)
          .join(", "),
        cluster.images
          .slice(0, SHOWN)
          .map((i) => i.path)
          .join(" "),
      ];
      const stability =
        tried === undefined ? "" : `${tried.stability.value.toFixed(2)} (${tried.nullStability.toFixed(2)})`;
      const p = Number.isFinite(count.p) ? count.p.toFixed(2) : "too few images";
      return k === 0 ? [channel, images, count.k, p, stability, ...own] : ["", "", "", "", "", ...own];
    }),
  );
  const several = found.filter(({ count }) => count.k > 1).length;
  const none = found.filter(({ count }) => count.k === 0).map(({ channel }) => channel);
  return [
    rows.length === 0
      ? ""
      : table(["channel", "images", "concepts", "p", "stability (null)", "size", "classes", "top images"], rows),
    `${several} of ${found.length} channels of ${study.meta.layer.name} have more than one concept\n`,
    none.length === 0 ? "" : `no image is relevant through channel ${none.join(", ")}\n`,
    target === undefined ? "" : `${target}: for \`unbraid split --clusters\`\n`,
  ].join("");
}
