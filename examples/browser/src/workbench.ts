/** What the worker does: open, classify, study, find, split, verify, report. Each step keeps what the next one needs. */
import {
  assertStudyMatches,
  assertSplittable,
  accumulatorBytes,
  conceptImages,
  convLayers,
  createSet,
  decodeStudy,
  encodeStudy,
  findPairs,
  firstOf,
  foldsOf,
  DEFAULT_FOLDS,
  guardSplits,
  imagesOf,
  isComplete,
  listDigest,
  openSecondPass,
  planSplits,
  RelevancePass,
  runStudy,
  Session,
  stageBatch,
  studyItems,
  studyLayer,
  UnbraidError,
  writeSplit,
  DEFAULT_RULE,
  type Gpu,
  type PlannedSplit,
  type Study,
  type WrittenSplit,
} from "unbraid";
import { adapterName, device } from "./device.ts";
import { describeNetwork, openNetwork, sha256, bytesOf, shapedFor, type Network } from "./network.ts";
import { batches, batchSize, filesDigest, imageShapeOf, listed, type Item } from "./pictures.ts";
import type { Answer, Download, Method, Picture, Progress, Request } from "./protocol.ts";
import { makeReport } from "./report.ts";

export interface Job {
  readonly signal: AbortSignal;
  readonly onProgress: (progress: Progress) => void;
}

/** The paper's. */
const TAU = 0.03;

interface Studied {
  readonly file: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly study: Study;
}

interface Split {
  readonly written: WrittenSplit;
  readonly planned: readonly PlannedSplit[];
  readonly file: string;
}

/** Every method of the protocol, with the job besides. */
type Bench = { [M in Method]: (request: Request<M>, job: Job) => Answer<M> | Promise<Answer<M>> };

export class Workbench implements Bench {
  #network: Network | undefined;
  #studied: Studied | undefined;
  #split: Split | undefined;

  async adapter(): Promise<string> {
    return adapterName(await device());
  }

  async open(request: Request<"open">): Promise<Answer<"open">> {
    const network = await openNetwork(request);
    // A study of another network is of no use; with another preprocessing it is of other inputs.
    const same = this.#network?.sha256 === network.sha256 && specText(this.#network) === specText(network);
    if (!same) [this.#studied, this.#split] = [undefined, undefined];
    this.#network = network;
    return describeNetwork(network);
  }

  async classify({ pictures }: Request<"classify">, job: Job): Promise<Answer<"classify">> {
    const network = this.#open();
    const items = pictures.map((picture): Item => ({ ...picture, label: -1 }));
    const imageShape = await imageShapeOf(network, items[0]);
    const batch = batchSize(network, imageShape, items.length);
    const { input, logits } = network.classifier;
    const gpu = await device();
    using session = new Session(gpu, network.graph);
    const rows: Answer<"classify">[number][] = [];
    for await (const images of batches(items, { ...job, spec: network.spec, imageShape, batch })) {
      const data = new Float32Array(batch * imageShape.reduce((a, b) => a * b, 1));
      data.set(images.tensor);
      const tensor = { type: "float32", shape: [batch, ...imageShape], data } as const;
      const got = await session.run(new Map([[input, tensor]]), [logits]);
      const all = Float32Array.from(got.get(logits)?.data ?? []);
      images.items.forEach((item, k) => {
        const of = all.subarray(k * network.classes, (k + 1) * network.classes);
        rows.push({ path: item.path, top: top(of, network, item.path) });
      });
      job.onProgress({ done: images.next, total: items.length, unit: "pictures" });
    }
    gpu.check();
    return rows;
  }

  async study(request: Request<"study">, job: Job): Promise<Answer<"study">> {
    const network = this.#open();
    const { classes, items } = listed(request.pictures, network, request.limit);
    const imageShape = await imageShapeOf(network, items[0]);
    const batch = batchSize(network, imageShape, items.length);
    const shaped = shapedFor(network, batch, imageShape);
    const layer = convLayers(shaped).find(({ name }) => name === request.layer);
    if (layer === undefined)
      throw new UnbraidError(
        "input",
        "LAYER_UNKNOWN",
        `the network has no layer "${request.layer}"`,
        "Choose another.",
      );
    assertSplittable(layer);
    const geometry = studyLayer(layer);
    const perClass = classes.map((_, t) => items.filter((item) => item.label === t).length);
    const list = items.map((item) => ({ path: item.path, class: item.label }));
    const set = createSet(
      {
        model: { file: network.file, sha256: network.sha256 },
        classes,
        labels: classes.map((_, t) => t),
        images: { digest: listDigest(list), length: items.length, perClass },
        preprocess: specText(network),
        taus: [TAU],
        folds: DEFAULT_FOLDS,
        settings: { files: filesDigest(items) },
      },
      [geometry],
    );
    const gpu = await device();
    using session = new Session(gpu, network.graph);
    using pass = await RelevancePass.open(session, {
      layers: [{ layer, geometry }],
      input: network.classifier.input,
      logits: network.classifier.logits,
      imageShape,
      logitCount: network.classes,
      batch,
      taus: [TAU],
    });
    const skipped: Parameters<NonNullable<Parameters<typeof batches>[1]["onSkip"]>>[0][] = [];
    const { seconds } = await runStudy({
      set,
      pass,
      paths: items.map((item) => item.path),
      folds: foldsOf(
        items.map((item) => item.label),
        DEFAULT_FOLDS,
      ),
      batches: batches(items, {
        ...{ spec: network.spec, imageShape, batch, signal: job.signal, skip: request.skip },
        onSkip: (one) => skipped.push(one),
      }),
      start: 0,
      end: items.length,
      signal: job.signal,
      allSkipped: () => skipped,
      onProgress: ({ done, total }) => {
        job.onProgress({ done, total, unit: "pictures" });
      },
    });
    gpu.check();
    const stem = network.file.replace(/\.onnx$/i, "");
    this.#studied = { file: `${stem}.study`, bytes: Uint8Array.from(encodeStudy(set)), study: firstOf(set) };
    this.#split = undefined;
    return this.#summary(seconds);
  }

  async loadStudy({ file }: Request<"loadStudy">): Promise<Answer<"loadStudy">> {
    const network = this.#open();
    const bytes = await bytesOf(file);
    const study = firstOf(decodeStudy(bytes));
    assertStudyMatches(study, { modelDigest: network.sha256 });
    this.#studied = { file: file.name, bytes, study };
    this.#split = undefined;
    return this.#summary(0);
  }

  #summary(seconds: number): Answer<"study"> {
    const { file, study } = this.#studiedOne();
    const { meta } = study;
    return {
      ...{ file, seconds, layer: meta.layer.name, listed: meta.images.length },
      classes: meta.images.perClass.filter((n) => n > 0).length,
      images: meta.classes.reduce((n, _, t) => n + imagesOf(study, t), 0),
      skipped: study.skipped.length,
      accumulatorBytes: accumulatorBytes(study),
    };
  }

  find({ gamma }: Request<"find">): Answer<"find"> {
    const { study } = this.#studiedOne();
    const found = findPairs(study, { tau: study.meta.taus[0] ?? TAU, ...(gamma === null ? {} : { gamma }) });
    const { rule, threshold, fdr } = found.decision;
    const name = (t: number): string => study.meta.classes[t] ?? String(t);
    return {
      pairs: found.pairs.map(({ channel, class1, class2, cosine, significance }) => ({
        ...{ channel, class1, class2, cosine, q: significance?.q ?? null },
        ...{ name1: name(class1), name2: name(class2) },
      })),
      candidates: found.candidates,
      channels: study.meta.layer.outChannels,
      decision:
        rule === "gamma"
          ? `cosine from 0 to below ${threshold}`
          : `significantly below ${threshold.toFixed(3)}, the median of random pairs; at most ${100 * fdr} % of them falsely`,
    };
  }

  async split({ targets, rho, pictures }: Request<"split">, job: Job): Promise<Answer<"split">> {
    const network = this.#open();
    const { study, file: studyFile, bytes: studyBytes } = this.#studiedOne();
    if (!isComplete(study))
      throw new UnbraidError("input", "STUDY_INCOMPLETE", "the study has not seen all its pictures", "Study again.");
    const common = {
      ...{ study, targets, rule: DEFAULT_RULE, signal: job.signal },
      ...(rho === null ? {} : { rho }),
      onProgress: ({ done, total }: { done: number; total: number }) => {
        job.onProgress({ done, total, unit: "channels" });
      },
    };
    let planned: PlannedSplit[];
    if (rho !== null && pictures.length === 0) planned = await planSplits(common);
    else {
      const gpu = await device();
      using second = await this.#secondPass(gpu, network, study, targets, pictures, job);
      planned = await planSplits({ ...common, secondPass: second });
      gpu.check();
    }
    const splits = guardSplits(study, planned, { force: false, some: true });
    const stem = network.file.replace(/\.onnx$/i, "");
    const file = `${stem}.split.onnx`;
    const written = writeSplit(network.model, study, splits, {
      source: { file: network.file, sha256: network.sha256 },
      study: { file: studyFile, sha256: await sha256(studyBytes) },
      file,
    });
    this.#split = { written, planned: splits.kept, file };
    return summarise(written, splits.refused, study, file);
  }

  async #secondPass(
    gpu: Gpu,
    network: Network,
    study: Study,
    targets: Request<"split">["targets"],
    pictures: readonly Picture[],
    job: Job,
  ): ReturnType<typeof openSecondPass> {
    const all = listed(pictures, network, null);
    // The study may be of fewer pictures of each class than there are.
    const counts = new Map<number, number>();
    const items = all.items.filter(({ label }) => {
      const n = (counts.get(label) ?? 0) + 1;
      counts.set(label, n);
      return n <= (study.meta.images.perClass[label] ?? 0);
    });
    const { items: known, studyImages, missing } = studyItems(study, { classes: all.classes, items }, targets);
    if (missing.length > 0)
      throw new UnbraidError(
        "input",
        "IMAGES_CLASSES_OTHER",
        `there is no picture for ${missing.map((name) => `"${name}"`).join(", ")}`,
        "Give the folder that the study was made of.",
      );
    const imageShape = await imageShapeOf(network, items[0]);
    const bySource = new Map(items.map((item) => [item.path, item]));
    const most = batchSize(network, imageShape, items.length);
    let batch = most;
    const images = conceptImages(known, (some) =>
      batches(
        some.flatMap(({ path, label }) => {
          const picture = bySource.get(path);
          return picture === undefined ? [] : [{ ...picture, label }];
        }),
        { spec: network.spec, imageShape, batch, signal: job.signal },
      ),
    );
    batch = network.classifier.batch ?? stageBatch(most, images, targets, false);
    return openSecondPass({
      ...{ gpu, graph: network.graph, shaped: shapedFor(network, batch, imageShape), study, targets, images },
      ...{ studyImages, input: network.classifier.input, imageShape, batch },
    });
  }

  async report({ pictures }: Request<"report">, job: Job): Promise<Answer<"report">> {
    const [network, studied, split] = [this.#open(), this.#studiedOne(), this.#split];
    if (split === undefined)
      throw new UnbraidError("usage", "SPLIT_MISSING", "there is no split model yet", "Split a channel first.");
    return makeReport({ network, studied, split, pictures: listed(pictures, network, null), gpu: await device() }, job);
  }

  download(what: Download): Answer<"download"> {
    if (what === "study") {
      const { file, bytes } = this.#studiedOne();
      return { name: file, bytes };
    }
    if (this.#split === undefined)
      throw new UnbraidError("usage", "SPLIT_MISSING", "there is no split model yet", "Split a channel first.");
    const { written, file } = this.#split;
    if (what === "model") return { name: file, bytes: Uint8Array.from(written.bytes) };
    const text = `${JSON.stringify(written.manifest, undefined, 1)}\n`;
    return { name: file.replace(/\.onnx$/, ".split.json"), bytes: new TextEncoder().encode(text) };
  }

  #open(): Network {
    if (this.#network !== undefined) return this.#network;
    throw new UnbraidError("usage", "MODEL_MISSING", "no network is open", "Drop an ONNX file, or take the demo's.");
  }

  #studiedOne(): Studied {
    if (this.#studied !== undefined) return this.#studied;
    throw new UnbraidError("usage", "STUDY_MISSING", "there is no study yet", "Make one, or drop a .study file.");
  }
}

/** As `unbraid study` records the preprocessing: fields in a fixed order. */
const specText = ({ spec: { resize, crop, mean, std, channels } }: Network): string =>
  JSON.stringify({ resize, crop, mean, std, channels: channels ?? "rgb" });

/** The five most probable classes; the largest logit is subtracted first, so that nothing overflows. */
function top(logits: Float32Array, network: Network, path: string): Answer<"classify">[number]["top"] {
  if (!logits.every(Number.isFinite))
    throw new UnbraidError(
      "model",
      "NOT_FINITE",
      `${path}: some of the ${logits.length} logits are not finite`,
      "Check the preprocessing and the model's weights.",
    );
  const isProbability = network.graph.nodes.some(
    (node) => node.opType === "Softmax" && node.outputs.includes(network.classifier.logits),
  );
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (z) => (isProbability ? z : Math.exp(z - largest)));
  const sum = isProbability ? 1 : powers.reduce((a, b) => a + b, 0);
  return powers
    .map((power, k) => ({ label: network.labels?.[k] ?? String(k), probability: power / sum }))
    .sort((a, b) => b.probability - a.probability)
    .slice(0, 5);
}

function summarise(
  { manifest }: WrittenSplit,
  refused: readonly PlannedSplit[],
  study: Study,
  file: string,
): Answer<"split"> {
  return {
    layer: manifest.layer,
    file,
    rows: manifest.parts.map((part) => {
      const inputs = part.concepts.map((_, k) => part.sets.split(String(k + 1)).length - 1);
      const shared = part.sets.split("0").length - 1;
      const { channel, concepts, rho } = part;
      return { channel, concepts, rho, inputs, shared, score: part.heldOut?.score ?? null };
    }),
    refused: refused.map(({ channel, classes, guards }) => ({
      channel,
      concepts: classes.map((t) => study.meta.classes[t] ?? String(t)),
      why: guards?.why.join("; ") ?? "",
    })),
  };
}
