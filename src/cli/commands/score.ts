/** `unbraid score`: rules against plants whose true parts are known, the original's beside ours. */
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { positionsOf } from "../../channels/moments-pass.ts";
import { decodePlants, type PlantFile } from "../../channels/plants/plant.ts";
import { scorePlants } from "../../channels/plants/score.ts";
import { UnbraidError } from "../../errors.ts";
import { listImages, type ImageList } from "../../images/folder.ts";
import { listDigest } from "../../relevance/digest.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { FOLDER_OPTIONS, imagesOption, PREPROCESS_OPTIONS, showPreprocess } from "../images.ts";
import { openModel, type OpenModel } from "../model.ts";
import { plantedLayer } from "../planted.ts";
import { Progress } from "../progress.ts";
import { describeScore } from "../score-text.ts";

export const score: Command = {
  name: "score",
  summary:
    "how near rules come to the true parts of plants, and whether plants are detected: the original's beside ours",
  usage: ["score PLANTS --images DIR [--evidence DIR] [--model MODEL] [--seed S] [--out FILE.json]"],
  positionals: [1, 1],
  options: {
    images: { ...FOLDER_OPTIONS.images, help: "held-out images that rules are marked on; a sub-folder a class" },
    evidence: { type: "string", value: "DIR", help: "what rules learn from (the folder that `plant` was given)" },
    model: { type: "string", value: "MODEL", help: "the model of the plants (where `plant` found it)" },
    seed: { type: "string", value: "S", help: "of all that is drawn at random (1)" },
    out: { type: "string", value: "FILE", help: "writes the JSON document" },
    classes: FOLDER_OPTIONS.classes,
    limit: { ...FOLDER_OPTIONS.limit, help: "only the first N held-out images of each class" },
    "skip-bad": FOLDER_OPTIONS["skip-bad"],
    ...PREPROCESS_OPTIONS,
  },
  details: "Every figure has an interval (95 %, bootstrap over plants) and n. docs/evidence.md says what each means.",
  example: "unbraid score plants.json --preset imagenet --images val",
  run,
};

async function run(context: Context): Promise<undefined> {
  const began = performance.now();
  const { args, out } = context;
  const path = args.text("out");
  if (path !== undefined) context.checkWritable(path);
  const name = args.positional(0);
  const file = readPlants(name);
  const seed = args.number("seed", { integer: true, least: 0, most: 2 ** 31 }) ?? 1;
  const opened = openPlantedModel(context, file, name);
  const heldOut = await imagesOption(context);
  const evidence = await evidenceOf(context, file);
  checkClasses(file, heldOut.list, heldOut.root);
  using device = await context.openDevice();
  const { network, layer, geometry, images } = await plantedLayer(context, device, opened, evidence, {
    node: file.node,
  });
  if (showPreprocess(network.spec) !== file.preprocess)
    out.warn(`the plants were made with other preprocessing: ${file.preprocess}`);
  if (digestOf(heldOut.list) === digestOf(evidence.list))
    out.warn("the held-out images are named as the evidence's: what rules have learned from marks them too well");

  const stages = new Map<string, Progress>();
  const found = await scorePlants({
    ...{ gpu: device.gpu, graph: opened.graph, layer, geometry, positions: positionsOf(layer) },
    ...{ input: network.classifier.input, logits: network.classifier.logits, logitCount: network.logits },
    ...{ imageShape: network.imageShape, batch: network.batch, labels: file.classes.map((_, t) => t) },
    ...{ evidence: images(evidence.root, evidence.list), heldOut: images(heldOut.root, heldOut.list) },
    ...{ plants: file.plants, name, seed, signal: context.signal },
    onStage: (stage, share) => {
      const progress = stages.get(stage) ?? new Progress(out, `% of ${stage}`, 100);
      stages.set(stage, progress);
      progress.update(Math.round(100 * share));
    },
  });
  device.gpu.check();
  const json = {
    ...{ model: basename(file.model.path), layer: file.layer, plants: file.plants.length, seed },
    ...found,
    seconds: (performance.now() - began) / 1000,
  };
  if (path !== undefined) context.writeFile(path, `${JSON.stringify(json, undefined, 1)}\n`);
  await out.result(json, describeScore(file.layer, found));
  return undefined;
}

function readPlants(path: string): PlantFile {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw new UnbraidError(
      "input",
      "PLANTS_FORMAT",
      `${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`,
      "Pass a file that `unbraid plant` wrote.",
      { cause },
    );
  }
  return decodePlants(text, path);
}

/** The model of --model; else where `plant` found it, or beside the plants. @throws UnbraidError PLANTS_MODEL */
function openPlantedModel(context: Context, file: PlantFile, name: string): OpenModel {
  const given = context.args.text("model");
  const places = given === undefined ? [file.model.path, join(dirname(name), basename(file.model.path))] : [given];
  const path = places.find((p) => existsSync(p)) ?? given;
  if (path === undefined)
    throw new UnbraidError(
      "input",
      "PLANTS_MODEL",
      `The model of ${name}, ${file.model.path}, is not there.`,
      "Say where it is with --model.",
    );
  const opened = openModel(context, path);
  if (opened.digest() === file.model.sha256) return opened;
  throw new UnbraidError(
    "input",
    "PLANTS_MODEL",
    `${name} was made of a model with SHA-256 ${file.model.sha256.slice(0, 12)}..., not of ${path} with ${opened.digest().slice(0, 12)}...`,
    "Pass the model that the plants were made of with --model, or plant again.",
  );
}

async function evidenceOf(context: Context, file: PlantFile): Promise<{ root: string; list: ImageList }> {
  const root = context.args.text("evidence") ?? file.images.path;
  const classesFile = context.args.text("classes");
  const list = await listImages(root, classesFile === undefined ? {} : { classesFile });
  checkClasses(file, list, root);
  // The plants may have been made of the first images of each class only.
  if (digestOf(list) === file.images.digest) return { root, list };
  for (let limit = 1; limit <= Math.ceil(file.images.length); limit++) {
    const fewer = firstOfEach(list, limit);
    if (fewer.items.length > file.images.length) break;
    if (fewer.items.length === file.images.length && digestOf(fewer) === file.images.digest)
      return { root, list: fewer };
  }
  context.out.note(`${root} does not hold exactly the images that the plants were made of: its own are the evidence`);
  return { root, list };
}

function firstOfEach(list: ImageList, limit: number): ImageList {
  const counts = list.classes.map(() => 0);
  const items = list.items.filter(({ label }) => {
    counts[label] = (counts[label] ?? 0) + 1;
    return (counts[label] ?? 0) <= limit;
  });
  return { ...list, items };
}

const digestOf = (list: ImageList): string => listDigest(list.items.map((i) => ({ path: i.path, class: i.label })));

function checkClasses(file: PlantFile, list: ImageList, root: string): void {
  const same = list.classes.length === file.classes.length && list.classes.every((c, t) => c === file.classes[t]);
  if (same) return;
  throw new UnbraidError(
    "input",
    "IMAGES_CLASSES_OTHER",
    `${root} has the classes ${list.classes.slice(0, 3).join(", ")}... (${list.classes.length}), the plants ${file.classes.slice(0, 3).join(", ")}... (${file.classes.length})`,
    "Give folders with the same sub-folders as those that `plant` was given, and the same --classes.",
  );
}
