/** The second pass of `split`, over the images of the classes concerned: its folder, its device. */
import type { SplitTarget } from "../channels/concepts.ts";
import { conceptImages, openSecondPass, stageBatch, studyItems, type SecondPass } from "../channels/second-pass.ts";
import { UnbraidError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { Study } from "../relevance/study.ts";
import type { Context } from "./context.ts";
import { imageBatches, imageNetwork, imagesOption, type ImageNetwork } from "./images.ts";
import { shapedFor, type OpenModel } from "./model.ts";

export interface OpenSecondPass extends SecondPass {
  readonly gpu: Gpu;
}

/** Opens the images, the device and the pass. @throws UnbraidError IMAGES_CLASSES_OTHER, and what opening them throws */
export async function openPass(
  context: Context,
  opened: OpenModel,
  study: Study,
  targets: readonly SplitTarget[],
  compat: boolean,
): Promise<OpenSecondPass> {
  const { root, list } = await imagesOption(context, false);
  const { items, studyImages, missing } = studyItems(study, list, targets);
  if (missing.length > 0)
    throw new UnbraidError(
      "input",
      "IMAGES_CLASSES_OTHER",
      `${root} has no sub-folder or image for ${missing.map((name) => `"${name}"`).join(", ")}`,
      "Give the folder that the study was made of, or one with the same sub-folders.",
    );
  if (!studyImages)
    context.out.note("the images are not exactly those of the study: what is chosen is chosen on the ones given");
  const whole = await imageNetwork(context, opened, root, items);
  let network: ImageNetwork = whole;
  const images = conceptImages(items, (some) => imageBatches(context, network, { root, items: some }));
  const batch = whole.classifier.batch ?? stageBatch(whole.batch, images, targets, compat);
  network = { ...whole, batch, shaped: shapedFor(opened.graph, whole.classifier, batch, whole.imageShape) };
  const device = await context.openDevice();
  try {
    const second = await openSecondPass({
      ...{ gpu: device.gpu, graph: opened.graph, shaped: network.shaped, study, targets, images, studyImages },
      ...{ input: whole.classifier.input, imageShape: whole.imageShape, batch },
    });
    return {
      ...second,
      gpu: device.gpu,
      [Symbol.dispose]: () => {
        second[Symbol.dispose]();
        device[Symbol.dispose]();
      },
    };
  } catch (error) {
    device[Symbol.dispose]();
    throw error;
  }
}
