/** `unbraid explain`: where in an image a channel, or a part of a split channel, finds what it answers to. */
import { Session } from "../../engine/session.ts";
import { nearest } from "../../graph/names.ts";
import { listFiles } from "../../images/folder.ts";
import { blurred, drawHeatFigure, heatScale } from "../../images/heat-figure.ts";
import type { RgbImage } from "../../images/preprocess.ts";
import { ATTRIBUTION_METHODS } from "../../relevance/attribution.ts";
import { INTEGRATION_STEPS } from "../../relevance/integrated-gradients.ts";
import { usageError, type Arguments } from "../arguments.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { explainedLayer } from "../explain-parts.ts";
import { loadPicture } from "../explain-picture.ts";
import { csvOf, describePart, explainText, heatMapOf, identityOf, stacked, warnIncomplete } from "../explain-result.ts";
import { bestClass, checkFinite, explainAll, type Choices } from "../explain-run.ts";
import { imageNetwork, PREPROCESS_OPTIONS } from "../images.ts";
import { labelNames } from "../labels.ts";
import { openModel } from "../model.ts";
import { encodeNpy } from "../npy.ts";
import { splitRecords } from "../split-record.ts";

export const explain: Command = {
  name: "explain",
  summary: "a heat map over an image: where a channel, or a part of a split one, finds what it answers to",
  usage: [
    "explain MODEL IMAGE --layer L --channel C[:PART] [--of channel|logit] [--method METHOD] --out FILE.png",
    "explain MODEL IMAGE --of logit [--class K] --out FILE.png",
  ],
  positionals: [2, 2],
  options: {
    layer: { type: "string", value: "NAME", help: "a Conv layer, as `inspect` names it, or last" },
    channel: { type: "string", value: "C[:PART]", help: "a channel; of a split one part 1 to K, residual, or all" },
    of: {
      type: "string",
      value: "WHAT",
      help: "channel: its response (the default); logit: its share in a class's logit",
    },
    class: {
      type: "string",
      value: "K",
      help: "with --of logit: the class, by index or label (the network's first choice)",
    },
    method: { type: "string", value: "METHOD", help: `${ATTRIBUTION_METHODS.join(", ")} (gradient-x-input)` },
    steps: { type: "string", value: "N", help: `points of integrated gradients (${INTEGRATION_STEPS})` },
    baseline: { type: "string", value: "IMAGE", help: "where their path begins: mean (the default), black, white" },
    at: {
      type: "string",
      value: "WHERE",
      help: "what the map is of: image (the default), or the layer's input or output",
    },
    out: { type: "string", value: "FILE.png", help: "the heat map over the image" },
    blur: {
      type: "string",
      value: "N",
      help: "pixels that the drawing is smoothed over (a 64th of the side; 0: as it is)",
    },
    scale: { type: "string", value: "X", help: "what full colour stands for (all but the largest 0.5 % of numbers)" },
    csv: { type: "string", value: "FILE", help: "the map's numbers: part,y,x,value" },
    npy: { type: "string", value: "FILE.npy", help: "the same as an array, [height, width] or [parts, height, width]" },
    labels: { type: "string", value: "FILE", help: "names of the classes, as in `classify`" },
    ...PREPROCESS_OPTIONS,
  },
  details:
    "Red raises what is explained, blue lowers it. C:all draws the whole channel and each part on one scale: the parts add\n" +
    "up to the whole. docs/gradients.md has the formulas.",
  example:
    "unbraid explain split.onnx dog.jpg --preset imagenet --layer layer4.2.conv3 --channel 91:all --out heat.png",
  run,
};

function oneOf<T extends string>(args: Arguments, name: string, known: readonly T[], fallback: T): T {
  const text = args.text(name) ?? fallback;
  const found = known.find((k) => k === text);
  if (found !== undefined) return found;
  throw usageError("OPTION_VALUE", `--${name} must be one of ${known.join(", ")}, not "${text}"`, `Correct --${name}.`);
}

function choices(args: Arguments): Choices {
  const method = oneOf(args, "method", ATTRIBUTION_METHODS, "gradient-x-input");
  const of = oneOf(args, "of", ["channel", "logit"], "channel");
  const at = oneOf(args, "at", ["image", "input", "output"], "image");
  const steps = args.number("steps", { integer: true, least: 1, most: 10_000 });
  const baseline = args.text("baseline");
  const conflict = (what: string, remedy: string) => usageError("OPTION_CONFLICT", what, remedy);
  if (method !== "integrated" && (steps !== undefined || baseline !== undefined))
    throw conflict(
      "--steps and --baseline are for integrated gradients",
      "Add --method integrated, or leave them out.",
    );
  if (method === "integrated" && at !== "image")
    throw conflict("integrated gradients are of images: --at image", "Use --method gradient-x-input with --at.");
  if (of === "channel" && args.flag("class"))
    throw conflict("--class is for --of logit", "Add --of logit, or leave --class out.");
  if (args.flag("layer") !== args.flag("channel"))
    throw usageError(
      "OPTION_MISSING",
      `--${args.flag("layer") ? "channel" : "layer"} is missing: a channel is one of a layer`,
      "Give both --layer and --channel; --help shows an example.",
    );
  if (!args.flag("layer") && of === "channel") args.required("layer", "the layer of the channel");
  if (!args.flag("layer") && at !== "image")
    throw conflict(`--at ${at} is the ${at} of a layer`, "Add --layer and --channel, or leave --at out.");
  return { method, of, at, steps, baseline };
}

async function run(context: Context): Promise<undefined> {
  const { args, out } = context;
  const [modelPath = "", imagePath = ""] = args.positionals;
  const chosen = choices(args);
  const scaleGiven = args.number("scale", { least: 1e-30 });
  const blurGiven = args.number("blur", { least: 0, most: 1000 });
  const [png, csv, npy] = ["out", "csv", "npy"].map((name) => args.text(name));
  for (const path of [png, csv, npy]) if (path !== undefined) context.checkWritable(path);
  if (png === undefined && csv === undefined && npy === undefined)
    out.note("no map is written: --out FILE.png draws it, --csv and --npy give its numbers");
  const opened = openModel(context, modelPath);
  const items = await listFiles([imagePath]);
  const item = items[0];
  if (item === undefined || items.length > 1)
    throw usageError("OPTION_VALUE", `${imagePath} holds ${items.length} images; explain takes one`, "Give one file.");
  const network = await imageNetwork(context, opened, "/", items, chosen.of === "logit" ? "logits" : "images");
  const { shaped, logits } = network;
  const layerName = args.text("layer");
  const records = splitRecords(opened.model, modelPath);
  const layer =
    layerName === undefined ? undefined : explainedLayer(shaped, records, layerName, args.text("channel") ?? "");
  const names = chosen.of === "logit" ? labelNames(opened.model, modelPath, args.text("labels"), logits) : undefined;
  const asked = args.text("class");
  const wanted = asked === undefined ? undefined : classIndex(asked, names, logits);
  const picture = await loadPicture("/", item, network);

  using device = await context.openDevice();
  using session = new Session(device.gpu, opened.graph);
  const label = chosen.of === "logit" ? (wanted ?? (await bestClass(session, network, picture))) : undefined;
  const explained = await explainAll(context, session, { network, picture, chosen, layer, label });
  checkFinite(explained);
  const [, height, width] = network.imageShape;
  const blur = blurGiven ?? (chosen.at === "image" ? Math.min(height, width) / 64 : 0);
  const drawn = explained.map((e) => blurred(heatMapOf(e), blur));
  const scale = scaleGiven ?? heatScale(drawn.map(({ data }) => data));

  const name = label === undefined ? undefined : (names?.[label] ?? String(label));
  const json = {
    model: modelPath,
    image: imagePath,
    layer: layer?.name ?? null,
    channel: layer?.channel ?? null,
    of: chosen.of,
    class: label ?? null,
    label: name ?? null,
    method: chosen.method,
    at: chosen.at,
    steps: chosen.method === "integrated" ? (chosen.steps ?? INTEGRATION_STEPS) : null,
    baseline: chosen.method === "integrated" ? (chosen.baseline ?? "mean") : null,
    sign: layer?.sign ?? 1,
    blur,
    scale,
    shape: explained[0]?.map.shape.slice(1) ?? [],
    maps: explained.map(describePart),
    identity: identityOf(explained),
    files: { png: png ?? null, csv: csv ?? null, npy: npy ?? null },
  };
  if (csv !== undefined) context.writeFile(csv, csvOf(explained));
  if (npy !== undefined) context.writeFile(npy, encodeNpy(stacked(explained)));
  if (png !== undefined) {
    const caption =
      layer === undefined ? (name ?? "") : `channel ${layer.channel}${name === undefined ? "" : ` for ${name}`}`;
    const figure = drawHeatFigure({ image: picture.image, caption, maps: drawn, scale });
    context.writeFile(png, await pngOf(figure));
  }
  warnIncomplete(context, explained);
  await out.result(json, explainText(json));
  return undefined;
}

/** sharp is native code: it is loaded when it is needed. */
async function pngOf(image: RgbImage): Promise<Uint8Array> {
  return await (await import("../../images/png.ts")).encodePng(image);
}

function classIndex(asked: string, names: readonly string[] | undefined, count: number): number {
  const named = names?.indexOf(asked) ?? -1;
  if (named >= 0) return named;
  const index = /^\d{1,9}$/.test(asked) ? Number(asked) : Infinity;
  if (index < count) return index;
  throw usageError(
    "CLASS_UNKNOWN",
    `the network has no class "${asked}": it has ${count} logits`,
    (names === undefined ? "Give" : `Nearest: ${nearest(asked, names).join(", ")}; or give`) +
      ` an index from 0 to ${count - 1}.`,
  );
}
