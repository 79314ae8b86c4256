/** Studies as bytes and back: the format of docs/study-format.md. Equal sets of studies make equal bytes. */
import { must, UnbraidError } from "../errors.ts";
import { digestOf } from "./digest.ts";
import { BYTES_PER_SUM, ExactSums } from "./exact-sum.ts";
import { imagesHeader, layerHeader, modelHeader, settingsHeader } from "./study-header.ts";
import { VARIANTS } from "./importance.ts";
import { align, corrupt, SectionReader } from "./sections.ts";
import { parseHeader } from "./study-header.ts";
import type { StudyHeader } from "./study-header.ts";
import { createStudy, emptyCounts, tapsOf } from "./study.ts";
import type { Study, StudyMeta } from "./study.ts";
import { firstOf, type StudySet } from "./study-set.ts";

const MAGIC = "UNBRAID-STUDY ";
/** The version that this code writes, and the newest that it reads. Version 1 had one layer and no folds. */
export const STUDY_FORMAT_VERSION = 2;
const DIGEST_BYTES = 32;

/** The bytes of a study file. */
export function encodeStudy(set: StudySet): Uint8Array {
  const head = encodeHead(set);
  const sections = set.studies.flatMap(sectionsOf);
  const size = sections.reduce((n, s) => n + align(s.byteLength), head.length);
  const file = new Uint8Array(size + DIGEST_BYTES);
  file.set(head);
  let offset = head.length;
  for (const section of sections) {
    file.set(new Uint8Array(section.buffer, section.byteOffset, section.byteLength), offset);
    offset += align(section.byteLength);
  }
  file.set(digestOf(file.subarray(0, size)), size);
  return file;
}

/**
 * The studies in a file. Nothing is taken on trust: sizes are checked before memory is reserved for them.
 * @throws UnbraidError STUDY_FORMAT (not a study), STUDY_VERSION (newer than this), STUDY_CORRUPT (truncated or changed)
 */
export function decodeStudy(bytes: Uint8Array): StudySet {
  const { header, headBytes } = decodeHead(bytes);
  const reader = new SectionReader(bytes.subarray(headBytes, bytes.length - DIGEST_BYTES));
  const studies = header.metas.map((meta) => readStudy(reader, meta, header));
  reader.end();
  return { studies };
}

function readStudy(reader: SectionReader, meta: StudyMeta, header: StudyHeader): Study {
  const study = createStudy(meta);
  study.done = header.done;
  study.skipped = header.skipped;
  const { layer, taus } = study.meta;
  reader.into(layer.weights);
  reader.into(layer.sign);
  if (!layer.weights.every(Number.isFinite)) throw corrupt("weights that are not finite");
  if (!layer.sign.every((s) => s === 1 || s === -1)) throw corrupt("a sign that is neither 1 nor -1");

  const sums = layer.inChannels * tapsOf(layer);
  header.accumulated.forEach((perFold, t) => {
    const images = perFold.reduce((a, b) => a + b, 0);
    if (images === 0) return;
    const tapSums = perFold.map((contributions) => {
      if (contributions === 0) return undefined;
      reader.need(sums * BYTES_PER_SUM);
      const bins = reader.into(new Uint8Array(sums));
      const high = reader.into(new Float64Array(sums));
      const low = reader.into(new Float64Array(sums));
      const state = ExactSums.fromState({ contributions, bins, high, low });
      if (state === undefined) throw corrupt(`impossible tap sums of class ${t}`);
      return state;
    });
    reader.need(VARIANTS.length * taus.length * layer.outChannels * 2);
    const counts = reader.into(emptyCounts(study.meta, t));
    if (counts.some((count) => count > images)) throw corrupt(`counts of class ${t} above its ${images} images`);
    study.accumulators[t] = { tapSums, counts };
  });
  return study;
}

/** Whether two sets of studies are the same in every bit that a file keeps. */
export function studiesEqual(a: StudySet, b: StudySet): boolean {
  const [left, right] = [encodeStudy(a), encodeStudy(b)];
  return left.length === right.length && left.every((byte, i) => byte === right[i]);
}

function encodeHead(set: StudySet): Uint8Array {
  const study = firstOf(set);
  const { meta } = study;
  const json = JSON.stringify({
    model: modelHeader(meta.model),
    layers: set.studies.map((s) => layerHeader(s.meta.layer)),
    classes: meta.classes,
    labels: meta.labels,
    images: imagesHeader(meta.images),
    preprocess: meta.preprocess,
    taus: meta.taus,
    folds: meta.folds,
    settings: settingsHeader(meta.settings),
    done: study.done,
    skipped: study.skipped.map(({ index, name, reason }) => ({ index, name, reason })),
    accumulated: imagesByFold(study),
  });
  const text = new TextEncoder().encode(json);
  const line = new TextEncoder().encode(`${MAGIC}${STUDY_FORMAT_VERSION} ${text.length}\n`);
  const head = new Uint8Array(align(line.length + text.length));
  head.set(line);
  head.set(text, line.length);
  return head;
}

/** [T][F] */
const imagesByFold = (study: Study): number[][] =>
  study.accumulators.map((a) =>
    Array.from({ length: study.meta.folds }, (_, fold) => a?.tapSums[fold]?.contributions ?? 0),
  );

/** In the order of the file. */
function sectionsOf(study: Study): ArrayBufferView[] {
  const { weights, sign } = study.meta.layer;
  const classes = study.accumulators.flatMap((a) => {
    const used = a?.tapSums.filter((sums) => sums !== undefined && sums.contributions > 0) ?? [];
    if (a === undefined || used.length === 0) return [];
    const sums = used.flatMap((of) => {
      const { bins, high, low } = must(of, "sums").state;
      return [bins, high, low];
    });
    return [...sums, a.counts];
  });
  return [weights, sign, ...classes];
}

function decodeHead(bytes: Uint8Array): { readonly header: StudyHeader; readonly headBytes: number } {
  const start = new TextDecoder("latin1").decode(bytes.subarray(0, 64));
  const line = /^UNBRAID-STUDY (\d{1,9}) (\d{1,15})\n/.exec(start);
  if (line === null) {
    if (/^UNBRAID-STUDY [\d ]*$/.test(start)) throw corrupt(`it ends after ${bytes.length} bytes`);
    throw new UnbraidError(
      "input",
      "STUDY_FORMAT",
      `This is not a study file: it does not begin with "${MAGIC}".`,
      "Pass a file that `unbraid study` or `unbraid merge` wrote.",
    );
  }
  const version = Number(line[1]);
  if (version > STUDY_FORMAT_VERSION)
    throw new UnbraidError(
      "input",
      "STUDY_VERSION",
      `The study file has format version ${version}; this version of unbraid reads up to ${STUDY_FORMAT_VERSION}.`,
      "Use the version of unbraid that wrote it, or a newer one.",
    );
  if (version < 1) throw corrupt(`format version ${version} never existed`);
  const jsonBytes = Number(line[2]);
  const headBytes = align(line[0].length + jsonBytes);
  if (headBytes + DIGEST_BYTES > bytes.length) throw corrupt(`it ends after ${bytes.length} bytes, inside its header`);
  const body = bytes.length - DIGEST_BYTES;
  const digest = digestOf(bytes.subarray(0, body));
  if (!digest.every((byte, i) => byte === bytes[body + i])) throw corrupt("its SHA-256 is not that of its contents");
  const json = bytes.subarray(line[0].length, line[0].length + jsonBytes);
  return { header: parseHeader(json, body - headBytes, version), headBytes };
}
