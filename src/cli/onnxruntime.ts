/** onnxruntime-node's opinion, where that package is installed. */
import type { SecondOpinion } from "../channels/verify.ts";
import type { Classifier } from "../graph/classifier.ts";
import type { Context } from "./context.ts";
import type { OpenModel } from "./model.ts";

/**
 * Runs both files in onnxruntime, on the processor.
 * @returns undefined, with a note, where onnxruntime is not installed or does not take the models
 */
export async function onnxruntimeOpinion(
  { out }: Context,
  models: readonly [OpenModel, OpenModel],
  { input, logits, batch }: Classifier,
): Promise<SecondOpinion | undefined> {
  try {
    const ort = await import("onnxruntime-node");
    const open = ({ path }: OpenModel) => ort.InferenceSession.create(path, { logSeverityLevel: 3 });
    const sessions = [await open(models[0]), await open(models[1])] as const;
    const type = sessions[0].inputMetadata.find((m) => m.name === input);
    if (type?.isTensor === true && type.type !== "float32")
      throw new Error(`the models take ${type.type}, not float32`);
    const run = async (
      session: (typeof sessions)[number],
      images: Float32Array,
      shape: readonly number[],
    ): Promise<Float32Array> => {
      const n = shape[0] ?? 0;
      // A file for one size of batch is given the rest as zeros.
      const size = batch ?? n;
      const full = new Float32Array((size * images.length) / n);
      const [, channels = 0, height = 0, width = 0] = shape;
      full.set(models[0].channelsLast ? withChannelsLast(images, channels, height * width) : images);
      const sizes = models[0].channelsLast ? [height, width, channels] : [channels, height, width];
      const got = await session.run({ [input]: new ort.Tensor("float32", full, [size, ...sizes]) }, [logits]);
      const data = got[logits]?.data;
      if (!(data instanceof Float32Array)) throw new Error(`onnxruntime gives no float32 for ${logits}`);
      return data.slice(0, (data.length / size) * n);
    };
    return {
      run: async (images, shape) => [await run(sessions[0], images, shape), await run(sessions[1], images, shape)],
    };
  } catch (error) {
    const why = error instanceof Error ? (error.message.split("\n")[0] ?? "") : String(error);
    out.note(`no second opinion from onnxruntime-node: ${why}`);
    return undefined;
  }
}

/** [n, channels, pixels] as [n, pixels, channels]. */
function withChannelsLast(images: Float32Array, channels: number, pixels: number): Float32Array {
  const out = new Float32Array(images.length);
  for (let k = 0; k < images.length; k++) {
    const [image, rest] = [Math.floor(k / (channels * pixels)), k % (channels * pixels)];
    const [channel, pixel] = [Math.floor(rest / pixels), rest % pixels];
    out[(image * pixels + pixel) * channels + channel] = images[k] ?? 0;
  }
  return out;
}
