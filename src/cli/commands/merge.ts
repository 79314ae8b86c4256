/** `unbraid merge`: one study out of the studies of shards. */
import { must } from "../../errors.ts";
import {
  addSet,
  assertSameSet,
  assertWithin,
  modelFileOf,
  planMerge,
  withModelFile,
  type MergeItem,
} from "../../relevance/merge.ts";
import { encodeStudy } from "../../relevance/study-file.ts";
import { firstOf, type StudySet } from "../../relevance/study-set.ts";
import { accumulatorBytes, imagesOf, isComplete, type StudyMeta } from "../../relevance/study.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { layerSummary, readStudy, showLayers } from "../studies.ts";

export const merge: Command = {
  name: "merge",
  summary: "adds studies made from shards: the same, bit for bit, as the study of all images",
  usage: ["merge FILE... --out FILE"],
  positionals: [1, Infinity],
  options: { out: { type: "string", value: "FILE", help: "where to write the study" } },
  details:
    "In any order. A file that lies wholly within another (given twice, or a part of one that is merged already) is not\n" +
    "added again; studies that share only some of their images are refused, and so are those of other models, layers or options.",
  example:
    "unbraid study resnet50.onnx --preset imagenet --images train --layer layer4.2.conv3 --shard 1/2 --out shard-1.study\n" +
    "unbraid study resnet50.onnx --preset imagenet --images train --layer layer4.2.conv3 --shard 2/2 --out shard-2.study\n" +
    "unbraid merge shard-1.study shard-2.study --out merged.study",
  run,
};

async function run(context: Context): Promise<undefined> {
  const { args, out } = context;
  const path = args.required("out", "the file to write");
  context.checkWritable(path);
  const set = mergeFiles(context, args.positionals);
  context.writeFile(path, encodeStudy(set));
  const study = firstOf(set);
  const { meta } = study;
  const images = meta.classes.reduce((n, _, t) => n + imagesOf(study, t), 0);
  const complete = isComplete(study);
  await out.result(
    {
      images,
      classes: meta.classes.length,
      layer: set.studies.map((s) => s.meta.layer.name).join(","),
      accumulator_bytes: set.studies.reduce((bytes, s) => bytes + accumulatorBytes(s), 0),
      layers: set.studies.map(layerSummary),
      folds: meta.folds,
      skipped: study.skipped.length,
      complete,
      file: path,
    },
    `${path}: ${images} images of ${meta.classes.length} classes at ${showLayers(set)}` +
      `${complete ? "" : `; ${meta.images.length - images - study.skipped.length} of ${meta.images.length} images are missing`}\n`,
  );
  return undefined;
}

/** Files are read twice, the first time for what they have seen: no more than two are held at once. */
function mergeFiles({ out, signal }: Context, paths: readonly string[]): StudySet {
  let first: StudySet | undefined;
  const metas: StudyMeta[] = [];
  const items = paths.map((path): MergeItem => {
    signal.throwIfAborted();
    const set = readStudy(path);
    first ??= set;
    assertSameSet(first, set);
    metas.push(firstOf(set).meta);
    return { name: path, done: firstOf(set).done };
  });
  const { add, repeated } = planMerge(items);
  const pathOf = (index: number): string => must(paths[index], "path");
  let sum: StudySet | undefined;
  for (const index of add) {
    signal.throwIfAborted();
    const set = readStudy(pathOf(index));
    for (const part of repeated.filter(({ within }) => within === index)) {
      assertWithin(readStudy(pathOf(part.index)), set, [pathOf(part.index), pathOf(index)]);
      out.note(`${pathOf(part.index)} lies within ${pathOf(index)}: not added again`);
    }
    if (sum === undefined) sum = withModelFile(set, modelFileOf(metas));
    else addSet(sum, set);
  }
  return must(sum, "a study");
}
