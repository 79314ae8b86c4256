/** Rows of weights on the images of concepts, many channels' rows at a time: what choosing rho and the guards read. */
import { invariant, must, UnbraidError } from "../errors.ts";
import { inputsOf } from "../relevance/arv.ts";
import { ExactSums } from "../relevance/exact-sum.ts";
import { tapsOf, type Study, type StudyLayer } from "../relevance/study.ts";
import { allConcepts, conceptName, type ClassImages, type Concept } from "./concepts.ts";
import type { ResponsePass } from "./responses.ts";

/** Where responses come from. */
export interface ResponseSource {
  readonly study: Study;
  readonly pass: ResponsePass;
  readonly images: ClassImages;
  readonly signal?: AbortSignal | undefined;
}

/** Rows that are to see the images of some concepts. */
export interface ResponseJob {
  readonly concepts: readonly Concept[];
  /** [rows][I, K] over all input channels. */
  readonly rows: readonly Float32Array[];
}

/** On the images of one concept: [rows][images]. */
export interface RowResponses {
  /** Sum over positions of max(y, 0). */
  readonly positive: readonly (readonly number[])[];
  /** Sum over positions of y. */
  readonly signed: readonly (readonly number[])[];
}

/** Images to run: which of a concept's, and what else their layer inputs are wanted for. */
export interface ResponseImages {
  readonly positions: (concept: Concept) => readonly number[] | undefined;
  /** @param tapSums [n, I, K]; called for each batch of a concept, once however many rows there are */
  readonly onTapSums?: (concept: Concept, tapSums: Float32Array, n: number) => void;
}

/**
 * @param stage is told the share that is done
 * @returns [jobs][concepts]
 * @throws UnbraidError RHO_IMAGES for a concept without images
 */
export async function respond(
  { study, pass, images, signal }: ResponseSource,
  jobs: readonly ResponseJob[],
  { positions, onTapSums }: ResponseImages,
  stage: (share: number) => void,
): Promise<RowResponses[][]> {
  const found = jobs.map((job) => job.concepts.map((): RowResponses => ({ positive: [], signed: [] })));
  const work = chunks(jobs, pass.rows);
  for (const [done, { concept, members, first }] of work.entries()) {
    stage(done / work.length);
    const rows = members.flatMap((j) => must(jobs[j], "job").rows);
    const packed = pass.pack(concatenated(rows));
    const columns = rows.map(() => ({ positive: [] as number[], signed: [] as number[] }));
    let n = 0;
    for await (const batch of images.batches(concept, positions(concept))) {
      signal?.throwIfAborted();
      const count = batch.labels.length;
      const got = await pass.run(batch.tensor, count, packed);
      const width = got.sums.length / (2 * count);
      checkFinite(got.sums, width, batch.items);
      for (let i = 0; i < count; i++)
        columns.forEach(({ positive, signed }, r) => {
          positive.push(must(got.sums[2 * (i * width + r)], "response"));
          signed.push(must(got.sums[2 * (i * width + r) + 1], "response"));
        });
      if (first) onTapSums?.(concept, got.tapSums, count);
      n += count;
    }
    if (n === 0) throw noImages(study, concept);
    let row = 0;
    for (const j of members) {
      const job = must(jobs[j], "job");
      const own = columns.slice(row, row + job.rows.length);
      must(found[j], "responses")[job.concepts.indexOf(concept)] = {
        positive: own.map((c) => c.positive),
        signed: own.map((c) => c.signed),
      };
      row += job.rows.length;
    }
  }
  return found;
}

/** @throws UnbraidError NOT_FINITE naming the image */
function checkFinite(sums: Float32Array, rows: number, items: readonly { readonly path: string }[]): void {
  const at = sums.findIndex((v) => !Number.isFinite(v));
  if (at < 0) return;
  const image = Math.floor(at / (2 * rows));
  throw new UnbraidError(
    "model",
    "NOT_FINITE",
    `The layer's responses to ${items[image]?.path ?? `image ${image} of a batch`} hold ${String(sums[at])}.`,
    "Check the model and the preprocessing (mean, std, value range): its activations overflow float32.",
  );
}

interface Chunk {
  readonly concept: Concept;
  readonly members: readonly number[];
  /** Whether this is the concept's first: its images are run once a chunk. */
  readonly first: boolean;
}

/** For each concept the jobs that want it, as many at a time as have room. */
function chunks(jobs: readonly ResponseJob[], room: number): Chunk[] {
  const work: Chunk[] = [];
  for (const concept of allConcepts(jobs.map((job) => job.concepts))) {
    let members: number[] = [];
    let rows = 0;
    let first = true;
    const flush = (): void => {
      if (members.length > 0) work.push({ concept, members, first });
      if (members.length > 0) first = false;
      members = [];
      rows = 0;
    };
    jobs.forEach((job, j) => {
      if (!job.concepts.includes(concept)) return;
      invariant(job.rows.length <= room, `${job.rows.length} rows fit a pass of ${room}`);
      if (rows + job.rows.length > room) flush();
      members.push(j);
      rows += job.rows.length;
    });
    flush();
  }
  return work;
}

/** [I, K] mean tap sums of each concept over some of its images. @throws UnbraidError RHO_IMAGES */
export async function meanOverImages(
  { study, pass, images, signal }: ResponseSource,
  concepts: readonly Concept[],
  positions: (concept: Concept) => readonly number[],
  stage: (share: number) => void,
): Promise<Map<Concept, Float64Array>> {
  const size = study.meta.layer.inChannels * tapsOf(study.meta.layer);
  const rows = pass.pack(new Float32Array(0));
  const means = new Map<Concept, Float64Array>();
  for (const [done, concept] of concepts.entries()) {
    stage(done / concepts.length);
    const sums = new ExactSums(size);
    let n = 0;
    for await (const batch of images.batches(concept, positions(concept))) {
      signal?.throwIfAborted();
      const got = await pass.run(batch.tensor, batch.labels.length, rows);
      for (let i = 0; i < batch.labels.length; i++) sums.addVector(got.tapSums, i * size);
      n += batch.labels.length;
    }
    if (n === 0) throw noImages(study, concept);
    means.set(
      concept,
      sums.toFloat64().map((s) => s / n),
    );
  }
  return means;
}

/** A channel's row over all input channels of the layer, [I, K], zeros outside its group. @param sign 1 or -1 */
export function fullRow(layer: StudyLayer, channel: number, row: ArrayLike<number>, sign: number): Float32Array {
  const full = new Float32Array(layer.inChannels * tapsOf(layer));
  const at = inputsOf(layer, channel).first * tapsOf(layer);
  for (let j = 0; j < row.length; j++) {
    const w = row[j] ?? 0;
    full[at + j] = sign < 0 && w !== 0 ? -w : w;
  }
  return full;
}

function concatenated(rows: readonly Float32Array[]): Float32Array {
  const size = rows[0]?.length ?? 0;
  const all = new Float32Array(rows.length * size);
  rows.forEach((row, r) => {
    invariant(row.length === size, "rows of one length");
    all.set(row, r * size);
  });
  return all;
}

const noImages = (study: Study, concept: Concept): UnbraidError =>
  new UnbraidError(
    "input",
    "RHO_IMAGES",
    `No image of ${typeof concept === "number" ? `class ${concept} (${conceptName(study, concept)})` : concept.name} is there to choose or to check with.`,
    "Give a folder that has images of every class, or pass --rho without --images.",
  );
