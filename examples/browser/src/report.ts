/** The report: both networks compared, then one HTML file, which asks nothing of any server. */
import {
  assembleReport,
  convLayers,
  linearRows,
  reportHtml,
  resizeCropRgb,
  splitChannel,
  splitRecords,
  studyLayer,
  UnbraidError,
  type Gpu,
  type PictureSource,
  type RgbImage,
  type Study,
  type WrittenSplit,
} from "unbraid";
import { adapterName } from "./device.ts";
import { shapedFor, type Network } from "./network.ts";
import { batches, batchSize, decodePicture, imageShapeOf, type Item, type Listed } from "./pictures.ts";
import type { Answer, Progress } from "./protocol.ts";
import { openSplitNetwork, verifySplit } from "./verification.ts";

export interface ReportSource {
  readonly network: Network;
  readonly studied: { readonly file: string; readonly study: Study };
  readonly split: { readonly written: WrittenSplit; readonly file: string };
  readonly pictures: Listed;
  readonly gpu: Gpu;
}

interface Job {
  readonly signal: AbortSignal;
  readonly onProgress: (progress: Progress) => void;
}

/** More channels make the page long, and more pictures show no stronger ones, on the whole. */
const CHANNELS = 6;
const SAMPLE = 400;

export async function makeReport(source: ReportSource, { signal, onProgress }: Job): Promise<Answer<"report">> {
  const { network, studied, split, gpu } = source;
  const { manifest, bytes } = split.written;
  const items = sampleOf(source.pictures.items);
  // Two stages, one bar; the rest is drawing.
  const stage = (from: number) => (p: Progress) => {
    const [done, total] = [from + p.done, 2 * items.length];
    const unit =
      done < total ? "pictures, through both networks and then the parts" : "pictures; heat maps are being drawn";
    onProgress({ done, total, unit });
  };
  const pictures = { ...source.pictures, items };
  const found = await verifySplit({ network, bytes, pictures, gpu }, { signal, onProgress: stage(0) });

  const imageShape = await imageShapeOf(network, items[0]);
  const batch = batchSize(network, imageShape, items.length);
  const { model, graph } = openSplitNetwork(network, bytes);
  const shaped = shapedFor({ graph, classifier: network.classifier }, batch, imageShape);
  const byPath = new Map(items.map((item) => [item.path, item]));
  const scanning = stage(items.length);
  const data = await assembleReport({
    gpu,
    network: {
      ...{ graph, shaped, imageShape, batch, preprocess: network.spec },
      ...{ input: network.classifier.input, logits: network.classifier.logits },
    },
    split: openSplit(model, shaped),
    ...{ study: studied.study, tau: studied.study.meta.taus[0] ?? 0.03 },
    images: batches(items, { spec: network.spec, imageShape, batch, signal, skip: true }),
    idsOf: (_, label) => [label],
    classOf: (label) => source.pictures.classes[label] ?? String(label),
    pictures: pictureSource(network, byPath),
    ...{ manifest: manifest.parts, verification: found },
    about: {
      title: `What the channels of ${network.file} answer to`,
      command: "The example of Unbraid in a browser: open, study, find, split, verify, report",
      unbraid: "in the browser",
      adapter: adapterName(gpu),
      inputs: [
        { what: "network", file: network.file, sha256: network.sha256 },
        { what: "study", file: studied.file, sha256: manifest.study.sha256 },
        { what: "split network", file: split.file, sha256: manifest.model.sha256 },
      ],
      credits: [],
    },
    onProgress: (done) => {
      scanning({ done, total: items.length, unit: "pictures" });
    },
    signal,
  });
  gpu.check();
  const sentence = found.holds
    ? `The split network computes the same function: the largest error is ${found.ratio.toPrecision(3)} of the bound that rounding cannot exceed, and ${found.flips} of ${found.images} pictures change their top class.`
    : "The split network does not compute the same function: a difference exceeds what rounding can explain.";
  return { html: reportHtml(data), sentence, holds: found.holds };
}

/** As even over the list, and so over its classes, as can be. */
function sampleOf(items: readonly Item[]): Item[] {
  const n = Math.min(items.length, SAMPLE);
  return Array.from({ length: n }, (_, k) => items[Math.floor((k * items.length) / n)]).filter((x) => x !== undefined);
}

/** The channels and parts of the last split, as the model's own record tells them. */
function openSplit(
  model: ReturnType<typeof openSplitNetwork>["model"],
  shaped: ReturnType<typeof shapedFor>,
): Parameters<typeof assembleReport>[0]["split"] {
  const record = splitRecords(model, "the split network").at(-1);
  const layers = convLayers(shaped);
  const layer = layers.find(({ node }) => node.name === record?.node);
  if (record === undefined || layer === undefined)
    throw new UnbraidError(
      "model",
      "SPLIT_ROWS",
      "the split network does not say what was split in it",
      "Split it again.",
    );
  const geometry = studyLayer(layer);
  const [height, width] = geometry.kernel;
  const from = { input: layer.input, inChannels: layer.inChannels, taps: height * width };
  const rows = {
    grown: linearRows(shaped, record.grown, from),
    output: linearRows(shaped, record.output, from),
    sign: layers.find(({ output }) => output === record.output)?.sign ?? [],
    ...{ taps: from.taps, groups: layer.groups },
  };
  const channels = record.parts.slice(0, CHANNELS).map((part) => splitChannel({ ...part, ids: part.classes }, rows));
  return { record, layer, geometry, channels };
}

/** Pictures as the network sees them, and as JPEG. */
function pictureSource({ spec }: Network, byPath: ReadonlyMap<string, Item>): PictureSource {
  return {
    view: async (path) => {
      const item = byPath.get(path);
      if (item === undefined) throw new Error(`no picture ${path}`);
      return resizeCropRgb(await decodePicture(item), spec);
    },
    encode: async (image) => dataUri(await encodeJpeg(image)),
  };
}

async function encodeJpeg({ width, height, data }: RgbImage): Promise<Blob> {
  const canvas = new OffscreenCanvas(width, height);
  const drawing = canvas.getContext("2d");
  if (drawing === null) throw new Error("the browser gives no canvas");
  const pixels = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    pixels.data.set(data.subarray(3 * i, 3 * i + 3), 4 * i);
    pixels.data[4 * i + 3] = 255;
  }
  drawing.putImageData(pixels, 0, 0);
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
}

function dataUri(blob: Blob): Promise<string> {
  const reader = new FileReader();
  return new Promise((resolve, reject) => {
    reader.onload = () => {
      resolve(typeof reader.result === "string" ? reader.result : "");
    };
    reader.onerror = () => {
      reject(reader.error ?? new Error("a picture cannot be encoded"));
    };
    reader.readAsDataURL(blob);
  });
}
