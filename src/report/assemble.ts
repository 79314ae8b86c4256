/**
 * A report out of a split model, its study and images: everything but reading and writing files, so that a page can make the
 * very same one. Nothing here needs Node.
 */
import { Session } from "../engine/session.ts";
import { UnbraidError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { ConvLayer } from "../graph/conv-layers.ts";
import type { Graph, ShapedGraph } from "../graph/graph.ts";
import { normalise, type PreprocessSpec } from "../images/preprocess.ts";
import type { Study, StudyLayer } from "../relevance/study.ts";
import type { ImageBatch } from "../relevance/run-study.ts";
import type { SplitChannel } from "../channels/evaluate/channel.ts";
import { EvaluationPass } from "../channels/evaluate/pass.ts";
import { findPairs, type Findings } from "../channels/find.ts";
import { conceptVectors } from "../channels/sets.ts";
import type { SplitRecord } from "../channels/split-record.ts";
import type { ClassSimilarity, Gallery, LayerMap, ReportChannel, ReportData, Visualised } from "./data.ts";
import { evaluationTables, headline, shortHeadline, type EvaluationDocument } from "./evaluation.ts";
import { evidenceWords, guardsTable, pairsTable, placeWords, type ConceptPair, type ManifestPart } from "./evidence.ts";
import { galleriesOf } from "./galleries.ts";
import { HeatPass } from "./heat.ts";
import { chosenImages, interactive, hasSlider, SHOWN_OF_A_CONCEPT, thinned } from "./interactive.ts";
import { layerEntry } from "./layer-map.ts";
import { Album, type PictureSource } from "./pictures.ts";
import { proofFinding, proofSentence, proofTable, type VerificationDocument } from "./proof.ts";
import { receptiveField } from "./receptive-field.ts";
import { scanImages, scanRows, type ChannelScan } from "./scan.ts";

export interface ReportNetwork {
  readonly graph: Graph;
  /** Its shapes for batches of `batch` images. */
  readonly shaped: ShapedGraph;
  readonly input: string;
  readonly logits: string;
  /** [3, height, width] */
  readonly imageShape: readonly [number, number, number];
  readonly batch: number;
  readonly preprocess: PreprocessSpec;
}

/** The split that the report is about (channels/evaluate reads it out of the model). */
export interface ReportSplit {
  readonly record: SplitRecord;
  readonly layer: ConvLayer;
  readonly geometry: StudyLayer;
  readonly channels: readonly SplitChannel[];
}

export interface ReportRequest {
  readonly gpu: Gpu;
  readonly network: ReportNetwork;
  readonly split: ReportSplit;
  /** Of the layer before it was split. */
  readonly study: Study;
  readonly tau: number;
  /** Images, in batches of the network's, prepared as the network takes them. */
  readonly images: AsyncIterable<ImageBatch>;
  readonly idsOf: (path: string, label: number) => readonly number[];
  readonly classOf: (label: number) => string;
  readonly pictures: PictureSource;
  /** Vectors of concepts that are no classes of the study, by channel. */
  readonly vectors?: ReadonlyMap<number, readonly Float64Array[]>;
  /** A line on each channel, by channel: why it is there. */
  readonly remarks?: ReadonlyMap<number, string>;
  /** The manifest's entries: guards and held-out scores are there, and not in the model. */
  readonly manifest?: readonly ManifestPart[];
  readonly evaluation?: EvaluationDocument;
  readonly verification?: VerificationDocument;
  readonly similarity?: ClassSimilarity;
  readonly visualised?: ReadonlyMap<number, Visualised>;
  /** Of several layers; of the study's own unless given. */
  readonly map?: readonly LayerMap[];
  /** What stands in the file as it is given. */
  readonly about: Pick<ReportData, "title" | "command" | "unbraid" | "adapter" | "inputs" | "credits">;
  /** Images in each gallery; 6 unless given. */
  readonly most?: number;
  readonly onProgress?: (images: number) => void;
  readonly signal?: AbortSignal | undefined;
}

const GALLERY = 6;

/**
 * @throws UnbraidError REPORT_IMAGES for a concept without images; NOT_FINITE; what the images, the device and the signal throw
 */
export async function assembleReport(r: ReportRequest): Promise<ReportData> {
  const { gpu, network, split, study } = r;
  const { channels } = split;
  const scan = await scanned(r);
  checkConcepts(channels, scan.channels);
  const findings = findPairs(study, { tau: r.tau });
  const album = new Album(r.pictures);
  using session = new Session(gpu, network.graph);
  using heat = await HeatPass.open({
    ...{ session, layer: split.layer, input: network.input, imageShape: network.imageShape, signal: r.signal },
    tensorOf: async (path) => normalise(await r.pictures.view(path), network.preprocess),
  });
  const field = receptiveField(network.shaped, split.record.output, network.input);
  const done: ReportChannel[] = [];
  for (const [c, channel] of channels.entries()) {
    r.signal?.throwIfAborted();
    const found = scan.channels[c] ?? { concepts: [], tops: [] };
    // First what the reader chooses from: galleries may go without.
    const live = await liveFigures(r, channel, found, album);
    const galleries = await galleriesOf(channel, found, {
      ...{ album, heat, field, imageShape: network.imageShape, classOf: r.classOf },
    });
    done.push(describeChannel(r, channel, findings, { live, galleries }));
  }
  const map = r.map ?? [layerEntry(study.meta.layer.name, study.meta.layer.outChannels, findings)];
  const { verification: proof } = r;
  return {
    version: 1,
    ...r.about,
    layer: split.record.layer,
    findings: findingLines(r, map, findings),
    ...(proof === undefined ? {} : { proof: proofTable(proof), proofSentence: proofSentence(proof) }),
    map,
    ...(r.similarity === undefined ? {} : { similarity: r.similarity }),
    channels: done,
    pictures: album.pictures,
    images: scan.images,
    ...(album.left > 0 ? { leftOut: album.left } : {}),
  };
}

async function scanned(r: ReportRequest): Promise<{ images: number; channels: ChannelScan[] }> {
  const { network, split } = r;
  using pass = await EvaluationPass.open(r.gpu, {
    graph: network.graph,
    shaped: network.shaped,
    node: split.layer.node,
    geometry: split.geometry,
    output: split.record.output,
    input: network.input,
    logits: network.logits,
    batch: network.batch,
    rows: scanRows(split.channels),
  });
  return await scanImages({
    ...{ pass, channels: split.channels, batches: r.images, idsOf: r.idsOf, most: r.most ?? GALLERY },
    ...(r.onProgress === undefined ? {} : { onProgress: r.onProgress }),
    signal: r.signal,
  });
}

function checkConcepts(channels: readonly SplitChannel[], scans: readonly ChannelScan[]): void {
  channels.forEach(({ channel, concepts }, c) => {
    const missing = concepts.filter((_, k) => scans[c]?.concepts.every((image) => image.concept !== k) === true);
    if (missing.length > 0)
      throw new UnbraidError(
        "input",
        "REPORT_IMAGES",
        `no image of ${missing.map((name) => `"${name}"`).join(", ")}, a concept of channel ${channel}, was read`,
        "Give a folder that has images of each concept, or choose other channels with --channel.",
      );
  });
}

async function liveFigures(r: ReportRequest, channel: SplitChannel, scan: ChannelScan, album: Album) {
  const images = chosenImages(channel, scan.concepts, r.split.channels.length);
  const shown = new Set(
    channel.concepts.flatMap((_, k) =>
      thinned(
        images.filter(({ concept }) => concept === k),
        SHOWN_OF_A_CONCEPT,
      ),
    ),
  );
  const pictures: number[] = [];
  for (const image of images)
    pictures.push(shown.has(image) ? await album.add(image.path, r.classOf(image.label)) : -1);
  return interactive(channel, vectorsOf(r, channel), images, pictures);
}

/** What source sets were made of: the study's relevance vectors of the classes, or the clusters' own. */
function vectorsOf({ study, vectors }: ReportRequest, channel: SplitChannel): readonly Float64Array[] | undefined {
  const { classes, concepts, rule, rho } = channel;
  if (classes.length !== concepts.length) return vectors?.get(channel.channel);
  return conceptVectors(study, {
    channel: channel.channel,
    classes,
    rho: rho ?? 1,
    rule: hasSlider(channel) && rule === "official" ? "official" : "symmetric",
  });
}

interface Drawn {
  readonly live: ReportChannel["interactive"];
  readonly galleries: readonly Gallery[];
}

function describeChannel(
  r: ReportRequest,
  channel: SplitChannel,
  findings: Findings,
  { live, galleries }: Drawn,
): ReportChannel {
  const pairs = pairsOf(r, channel, findings);
  const part = r.manifest?.find((p) => p.channel === channel.channel);
  const evaluated = r.evaluation?.channels.find((e) => e.channel === channel.channel);
  const visualised = r.visualised?.get(channel.channel);
  const tables = [
    pairsTable(pairs, findings.randomPairs.median),
    part === undefined ? undefined : guardsTable(part),
    ...(evaluated === undefined ? [] : evaluationTables(evaluated)),
  ].flatMap((table) => table ?? []);
  return {
    channel: channel.channel,
    why: r.remarks?.get(channel.channel) ?? "",
    concepts: channel.concepts,
    summary: summaryOf(channel, pairs, part),
    points: evaluated?.summary ?? [],
    rule: channel.rule,
    ...(live === undefined ? {} : { interactive: live }),
    tables,
    galleries,
    ...(visualised === undefined ? {} : { visualised }),
  };
}

function pairsOf({ study }: ReportRequest, { channel, classes }: SplitChannel, findings: Findings): ConceptPair[] {
  const name = (t: number): string => study.meta.classes[t] ?? String(t);
  return findings.candidatePairs.flatMap((pair) =>
    pair.channel === channel && classes.includes(pair.class1) && classes.includes(pair.class2)
      ? [{ names: [name(pair.class1), name(pair.class2)] as const, pair }]
      : [],
  );
}

const list = (names: readonly string[]): string => `${names.slice(0, -1).join(", ")} and ${names.at(-1) ?? ""}`;

function summaryOf(channel: SplitChannel, pairs: readonly ConceptPair[], part: ManifestPart | undefined): string {
  const rho = channel.rho === null ? "" : ` at rho ${channel.rho}`;
  const evidence = pairs.length === 0 ? "" : ` Before the split: ${evidenceWords(pairs)}, ${placeWords(pairs)}.`;
  const guards = part?.guards ?? undefined;
  const guarded =
    guards === undefined
      ? ""
      : guards.passed
        ? " Held-out images show a second concept beyond what random filters show."
        : ` Held-out images show NO second concept (${guards.why.join("; ")}); it was split all the same.`;
  return `Divided between ${list(channel.concepts)} by the ${channel.rule} rule${rho}.${evidence}${guarded}`;
}

/** Five lines or so: how much there is, the first two channels with their nulls, and the proof. */
function findingLines(r: ReportRequest, map: readonly LayerMap[], findings: Findings): string[] {
  const own = map.find(({ layer }) => layer === r.split.record.layer);
  const lines = own === undefined ? [] : [layerLine(own, map)];
  for (const [c, channel] of r.split.channels.slice(0, 2).entries()) {
    const remark = r.remarks?.get(channel.channel);
    const name = `Channel ${channel.channel}${remark === undefined ? "" : ` (${remark})`}, ${list(channel.concepts)}`;
    const pairs = pairsOf(r, channel, findings);
    const said = [
      ...(pairs.length === 0 ? [] : [`${evidenceWords(pairs)}, ${placeWords(pairs)}`]),
      ...guardWords(r.manifest?.find((p) => p.channel === channel.channel)),
    ];
    const evaluated = r.evaluation?.channels.find((e) => e.channel === channel.channel);
    // The first has a line for its parts; what stands beside it is told in one.
    if (c > 0 && evaluated !== undefined) said.push(shortHeadline(evaluated));
    lines.push(`${name}: ${said.join("; ")}.`);
    if (c === 0 && evaluated !== undefined) lines.push(`On other images ${headline(evaluated)}.`);
  }
  if (r.verification !== undefined) lines.push(proofFinding(r.verification));
  return lines;
}

function guardWords(part: ManifestPart | undefined): string[] {
  const guards = part?.guards ?? undefined;
  if (guards === undefined) return [];
  return [guards.passed ? "held-out images show both concepts" : "held-out images show no second concept"];
}

function layerLine({ layer, channels, polysemantic, pairs, expected }: LayerMap, map: readonly LayerMap[]): string {
  const falsely =
    expected === undefined || pairs === undefined || pairs === 0
      ? ""
      : ` through ${pairs} pairs of classes, at most ${Math.ceil(expected)} of them falsely`;
  const none = map.filter((l) => l.polysemantic === 0).length;
  const zeros = none === 0 ? `Each of ${map.length} layers has some.` : `${none} of ${map.length} layers have none.`;
  const others = map.length < 2 ? "" : ` ${zeros}`;
  return `${polysemantic} of the ${channels} channels of ${layer} are polysemantic${falsely}.${others}`;
}
