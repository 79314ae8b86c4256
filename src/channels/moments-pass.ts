/** Moments of a layer's input on the GPU, one batch of images of one class at a time (METHOD.md B, "Beyond partitions"). */
import { invariant, must } from "../errors.ts";
import type { Executable } from "../engine/executable.ts";
import type { Extension, PlanRequest } from "../engine/plan.ts";
import type { Session } from "../engine/session.ts";
import type { ConvLayer } from "../graph/conv-layers.ts";
import { spread, type DeviceTensor } from "../kernels/operator.ts";
import { planeOf } from "../kernels/spatial.ts";
import { tapSums } from "../relevance/tap-sums.ts";
import { tapsOf, type StudyLayer } from "../relevance/study.ts";
import { patchesShader, secondMomentsShader } from "../shaders.generated.ts";
import { patchSize, type MomentBatch } from "./moments.ts";

export interface MomentPassOptions {
  readonly layer: ConvLayer;
  readonly geometry: StudyLayer;
  readonly input: string;
  /** [channels, height, width] */
  readonly imageShape: readonly number[];
  readonly batch: number;
  /** Groups of the layer; none where only tap sums are wanted. */
  readonly groups: readonly number[];
  /** What the patches of some images may take at a time; 32 MiB unless given. */
  readonly patchBytes?: number;
}

const COUNT = "images that count";
const TAP_SUMS = "tap sums";
const patchesOf = (group: number): string => `patch moments of group ${group}`;
const imagesOf = (group: number): string => `image moments of group ${group}`;

/** P: output positions of the layer. */
export const positionsOf = (layer: ConvLayer): number => planeOf(layer.outputShape).reduce((a, b) => a * b, 1);

export class MomentPass implements Disposable {
  readonly #session: Session;
  readonly #options: MomentPassOptions;
  readonly #executable: Executable;

  private constructor(session: Session, options: MomentPassOptions, executable: Executable) {
    this.#session = session;
    this.#options = options;
    this.#executable = executable;
  }

  static async open(session: Session, options: MomentPassOptions): Promise<MomentPass> {
    return new MomentPass(session, options, await session.prepare(momentRequest(options)));
  }

  /** @param images [n, ...imageShape], n at most the batch */
  run(images: Float32Array, n: number): Promise<MomentBatch> {
    return this.#session.exclusively(async () => {
      const { batch, imageShape, geometry, input, groups } = this.#options;
      const size = imageShape.reduce((a, b) => a * b, 1);
      invariant(n <= batch && images.length === n * size, `${n} images in a batch of ${batch}`);
      const padded = new Float32Array(batch * size);
      padded.set(images);
      this.#executable.run(
        new Map<string, Float32Array | Uint32Array>([
          [input, padded],
          [COUNT, Uint32Array.of(n)],
        ]),
      );
      const got = await this.#executable.read([TAP_SUMS, ...groups.flatMap((g) => [patchesOf(g), imagesOf(g)])]);
      return {
        images: n,
        tapSums: must(got.get(TAP_SUMS), TAP_SUMS).subarray(0, n * geometry.inChannels * tapsOf(geometry)),
        groups: groups.map((g) => ({
          patches: must(got.get(patchesOf(g)), patchesOf(g)),
          images: must(got.get(imagesOf(g)), imagesOf(g)),
        })),
      };
    });
  }

  [Symbol.dispose](): void {
    this.#session.release(this.#executable);
  }
}

/** What a pass asks for of the network: its plan says how much memory such a batch takes. */
export function momentRequest(options: MomentPassOptions): PlanRequest {
  const { layer, input, imageShape, batch } = options;
  return {
    inputs: new Map([[input, [batch, ...imageShape]]]),
    outputs: [],
    visible: [layer.input],
    extend: (x) => {
      extend(x, options);
    },
  };
}

function extend(x: Extension, { layer, geometry: g, batch, groups, patchBytes = 2 ** 25 }: MomentPassOptions): void {
  const source = x.value(layer.input);
  const stride = g.inChannels * tapsOf(g);
  const positions = positionsOf(layer);
  const count = x.input(COUNT, [1]);
  const sums = x.result(TAP_SUMS, [batch, g.inChannels, tapsOf(g)]);
  tapSums(x, source, sums, g, layer.outputShape);
  const size = patchSize(g);
  const results = groups.map((group) => ({
    group,
    patches: x.result(patchesOf(group), [size, size]),
    images: x.result(imagesOf(group), [size, size]),
  }));
  const tiles = Math.ceil(size / 4);
  const outer = (from: DeviceTensor, to: DeviceTensor, first: number, perImage: number, group: number): void => {
    x.dispatch({
      shader: secondMomentsShader,
      params: [first, from.shape[0] ?? 0, perImage, stride, group * size, size, first > 0 ? 1 : 0],
      reads: [from.slot, count.slot],
      writes: [to.slot],
      workgroups: spread(Math.ceil(tiles ** 2 / 64)),
      label: "second moments",
    });
  };
  for (const { group, images } of results) outer(sums, images, 0, 1, group);
  if (groups.length === 0) return;

  const chunk = Math.max(1, Math.min(batch, Math.floor(patchBytes / (4 * positions * stride))));
  const patches = x.scratch(chunk * positions * stride);
  const [top, left] = g.pads;
  for (let first = 0; first < batch; first += chunk) {
    const images = Math.min(chunk, batch - first);
    x.dispatch({
      shader: patchesShader,
      params: [
        ...[first, images, g.inChannels, ...planeOf(layer.inputShape)],
        ...[...planeOf(layer.outputShape), ...g.kernel],
        ...[...g.strides, ...g.dilations, top, left],
      ],
      reads: [source.slot],
      writes: [patches],
      workgroups: spread(Math.ceil((images * positions * stride) / 64)),
      label: "patches",
    });
    const part = { slot: patches, shape: [images, positions, stride] };
    for (const { group, patches: to } of results) outer(part, to, first, positions, group);
  }
}
