/** The second pass of `split`, over the images of the classes concerned: its folder, its device. */
import type { SplitTarget } from "../channels/concepts.ts";
import {
  conceptImages,
  openSecondPass,
  secondPassRequests,
  stageBatch,
  studyItems,
  type SecondPass,
  type SecondPassOptions,
} from "../channels/second-pass.ts";
import { UnbraidError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { Study } from "../relevance/study.ts";
import type { Context } from "./context.ts";
import { fitBatch, plansOf } from "./fit-batch.ts";
import { imageBatches, imageNetwork, imagesOption, withBatch, type ImageNetwork } from "./images.ts";
import type { OpenModel } from "./model.ts";

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
  const most = await imageNetwork(context, opened, root, items);
  let network: ImageNetwork = most;
  const images = conceptImages(items, (some) => imageBatches(context, network, { root, items: some }));
  const staged = most.classifier.batch ?? stageBatch(most.batch, images, targets, compat);
  const device = await context.openDevice();
  try {
    const { gpu } = device;
    const { graph } = opened;
    const optionsOf = ({ classifier, shaped, imageShape, batch }: ImageNetwork): SecondPassOptions => ({
      ...{ gpu, graph, shaped, study, targets, images, studyImages },
      ...{ input: classifier.input, imageShape, batch },
    });
    network = fitBatch(context, device, graph, withBatch(most, graph, staged), (n) => [
      plansOf(gpu, graph, ...secondPassRequests(optionsOf(n))),
    ]);
    const second = await openSecondPass(optionsOf(network));
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
