/** `unbraid merge`: one study out of the studies of shards. */
import { accumulatorBytes, imagesOf, isComplete } from "../../relevance/study.ts";
import { mergeSets } from "../../relevance/merge.ts";
import { encodeStudy } from "../../relevance/study-file.ts";
import { firstOf } from "../../relevance/study-set.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { readStudy } from "../studies.ts";

export const merge: Command = {
  name: "merge",
  summary: "adds studies made from shards: the same, bit for bit, as the study of all images",
  usage: ["merge FILE... --out FILE"],
  positionals: [1, Infinity],
  options: { out: { type: "string", value: "FILE", help: "where to write the study" } },
  example: "unbraid merge shard-1.study shard-2.study --out all.study",
  run,
};

async function run(context: Context): Promise<undefined> {
  const { args, out } = context;
  const path = args.required("out", "the file to write");
  context.checkWritable(path);
  const [first = "", ...others] = args.positionals;
  let set = readStudy(first);
  for (const other of others) {
    context.signal.throwIfAborted();
    set = mergeSets(set, readStudy(other));
  }
  context.writeFile(path, encodeStudy(set));
  const study = firstOf(set);
  const { meta } = study;
  const images = meta.classes.reduce((n, _, t) => n + imagesOf(study, t), 0);
  const complete = isComplete(study);
  await out.result(
    {
      images,
      classes: meta.classes.length,
      layer: meta.layer.name,
      accumulator_bytes: accumulatorBytes(study),
      skipped: study.skipped.length,
      complete,
      file: path,
    },
    `${path}: ${images} images of ${meta.classes.length} classes at ${meta.layer.name}` +
      `${complete ? "" : `; ${meta.images.length - images - study.skipped.length} of ${meta.images.length} images are missing`}\n`,
  );
  return undefined;
}
