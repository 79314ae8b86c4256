/** `unbraid plant`: channels whose true parts are known, made of channels of a network. */
import { resolve } from "node:path";
import { MomentPass, positionsOf } from "../../channels/moments-pass.ts";
import { gatherImages } from "../../channels/plants/images.ts";
import { makePlants } from "../../channels/plants/make.ts";
import { encodePlants, TIERS, type Plant, type Tier } from "../../channels/plants/plant.ts";
import { keptClasses, MOMENT_BYTES } from "../../channels/plants/score.ts";
import { Session } from "../../engine/session.ts";
import { listDigest } from "../../relevance/digest.ts";
import { usageError } from "../arguments.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { FOLDER_OPTIONS, imagesOption, PREPROCESS_OPTIONS, showPreprocess } from "../images.ts";
import { openModel } from "../model.ts";
import { countsOf, plantedLayer } from "../planted.ts";
import { Progress } from "../progress.ts";
import { table } from "../table.ts";

export const plant: Command = {
  name: "plant",
  summary: "polysemantic channels whose true parts are known, made of a network's own, to score rules with",
  usage: ["plant MODEL --images DIR --layer L --out FILE.json [--tier P0,...] [--plants N] [--seed S,...]"],
  positionals: [1, 1],
  options: {
    images: { ...FOLDER_OPTIONS.images, help: "the evidence: what rules may learn from; a sub-folder a class" },
    layer: { type: "string", value: "NAME", help: "a Conv layer by any name that `inspect` lists, or `last`" },
    out: { type: "string", value: "FILE", help: "the plants, for `score`" },
    tier: { type: "string", multiple: true, value: "P0,...", help: `which: ${TIERS.join(", ")} (all)` },
    plants: { type: "string", value: "N", help: "plants of each tier for each seed (60)" },
    seed: { type: "string", multiple: true, value: "S,...", help: "seeds that they are drawn with (1,2,3)" },
    classes: FOLDER_OPTIONS.classes,
    limit: FOLDER_OPTIONS.limit,
    "skip-bad": FOLDER_OPTIONS["skip-bad"],
    ...PREPROCESS_OPTIONS,
  },
  details:
    "P0: controls, channels as they are and sums of two of one top class. P1: two channels, each on its own half of the inputs.\n" +
    "P2: the sum of two channels of different top classes. P3: the same, one half as large. P4: of three. P5: as P2, put into\n" +
    "the network in the place of the first. docs/evidence.md has the rest.",
  example: "unbraid plant resnet50.onnx --preset imagenet --images train --layer layer4.2.conv3 --out plants.json",
  run,
};

async function run(context: Context): Promise<undefined> {
  const { args, out } = context;
  const path = args.required("out", "the file to write");
  const name = args.required("layer", "the layer; `unbraid inspect` lists them");
  context.checkWritable(path);
  const tiers = tiersOption(args.texts("tier"));
  const plants = args.number("plants", { integer: true, least: 1, most: 10_000 }) ?? 60;
  const given = args.numbers("seed", { integer: true, least: 0, most: 2 ** 31 });
  const seeds = given.length === 0 ? [1, 2, 3] : [...new Set(given)];
  const opened = openModel(context, args.positional(0));
  const folder = await imagesOption(context);
  using device = await context.openDevice();
  const { network, layer, geometry, images } = await plantedLayer(context, device, opened, folder, { name });
  const { root, list } = folder;
  const there = countsOf(list).flatMap((n, t) => (n > 0 ? [t] : []));
  const kept = keptClasses(geometry, geometry.groups, there);
  if (kept.length < there.length)
    out.note(`plants are of ${kept.length} of ${there.length} classes: second moments of more take too much memory`);

  using session = new Session(device.gpu, opened.graph);
  const groups = Array.from({ length: geometry.groups }, (_, g) => g);
  const { imageShape, batch, classifier } = network;
  using pass = await MomentPass.open(session, {
    ...{ layer, geometry, input: classifier.input, imageShape, batch, groups },
  });
  const progress = new Progress(out, "images", list.items.length);
  const { sums } = await gatherImages({
    ...{ layer: geometry, positions: positionsOf(layer), classes: list.classes.length, kept, groups, pass },
    ...{ images: images(root, list), memory: MOMENT_BYTES, signal: context.signal },
    onProgress: (done) => {
      progress.update(done);
    },
  });
  const moments = new Map(groups.flatMap((g) => (sums === undefined ? [] : [[g, sums.group(g)] as const])));
  const made = makePlants({ layer: geometry, moments, tiers, plants, seeds });
  device.gpu.check();
  context.writeFile(
    path,
    encodePlants({
      model: { path: resolve(opened.path), sha256: opened.digest() },
      ...{ layer: geometry.name, node: geometry.nodeName },
      images: {
        path: resolve(root),
        digest: listDigest(list.items.map((item) => ({ path: item.path, class: item.label }))),
        length: list.items.length,
      },
      ...{ classes: list.classes, preprocess: showPreprocess(network.spec), plants: made.plants },
    }),
  );
  if (made.leftOut.length > 0)
    out.note(`${made.leftOut.length} channels vary with no image, and are left out: ${made.leftOut.join(", ")}`);
  const counts = tiers.map((tier) => ({ tier, plants: made.plants.filter((p) => p.tier === tier).length }));
  await out.result(
    {
      ...{ layer: geometry.name, file: path, images: list.items.length, seeds, tiers: counts },
      ...{ left_out: made.leftOut, examples: examples(made.plants, list.classes) },
    },
    table(
      ["tier", "plants"],
      counts.map((c) => [c.tier, c.plants]),
    ) +
      examples(made.plants, list.classes)
        .map((line) => `${line}\n`)
        .join("") +
      `${made.plants.length} plants of layer ${geometry.name} in ${path}\n`,
  );
  return undefined;
}

/** The first of each tier in words. */
function examples(plants: readonly Plant[], classes: readonly string[]): string[] {
  return TIERS.flatMap((tier) => {
    const first = plants.find((p) => p.tier === tier);
    if (first === undefined) return [];
    const parts = first.parts.map((p) => p.channel).join(" + ");
    return [`${tier}, for instance: channel ${parts}, ${first.classes.map((t) => classes[t] ?? t).join(" and ")}`];
  });
}

function tiersOption(texts: readonly string[]): Tier[] {
  const names = texts.flatMap((text) => text.split(",")).map((name) => name.trim());
  const wrong = names.find((name) => !TIERS.some((tier) => tier === name));
  if (wrong !== undefined)
    throw usageError("OPTION_VALUE", `--tier must be some of ${TIERS.join(", ")}, not "${wrong}"`, "Correct --tier.");
  return names.length === 0 ? [...TIERS] : TIERS.filter((tier) => names.includes(tier));
}
