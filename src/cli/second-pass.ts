/** The second pass of `split`, over the images of the classes concerned. */
import { ResponsePass } from "../channels/responses.ts";
import { ROWS_AT_ONCE, type ClassImages, type SplitTarget } from "../channels/split-run.ts";
import { RHOS } from "../channels/rho.ts";
import { Session } from "../engine/session.ts";
import { UnbraidError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { convLayers } from "../graph/conv-layers.ts";
import type { ImageItem } from "../images/folder.ts";
import { listDigest } from "../relevance/digest.ts";
import type { Study } from "../relevance/study.ts";
import type { Context } from "./context.ts";
import { imageBatches, imageNetwork, imagesOption, type ImageNetwork } from "./images.ts";
import type { OpenModel } from "./model.ts";

export interface SecondPass extends Disposable {
  readonly pass: ResponsePass;
  readonly images: ClassImages;
  readonly gpu: Gpu;
}

/** Opens the images, the device and the pass. @throws UnbraidError IMAGES_CLASSES_OTHER, and what opening them throws */
export async function openSecondPass(
  context: Context,
  opened: OpenModel,
  study: Study,
  targets: readonly SplitTarget[],
  compat: boolean,
): Promise<SecondPass> {
  const { root, items } = await itemsOfStudy(context, study, targets);
  const whole = await imageNetwork(context, opened, root, items);
  const network = { ...whole, batch: stageBatch(whole, items, targets, compat) };
  const { nodeName } = study.meta.layer;
  const layer = convLayers(network.shaped).find((l) => l.node.name === nodeName);
  if (layer === undefined) throw new Error(`internal error: no Conv node ${nodeName} in the model of the study`);
  const device = await context.openDevice();
  const session = new Session(device.gpu, opened.graph);
  const close = (): void => {
    session[Symbol.dispose]();
    device[Symbol.dispose]();
  };
  try {
    const pass = await ResponsePass.open(session, {
      layer,
      geometry: study.meta.layer,
      input: network.classifier.input,
      imageShape: network.imageShape,
      batch: network.batch,
      rows: Math.min(ROWS_AT_ONCE, targets.length * RHOS.length * 2),
    });
    return { pass, images: byClass(context, network, root, items), gpu: device.gpu, [Symbol.dispose]: close };
  } catch (error) {
    close();
    throw error;
  }
}

/**
 * Images a batch. A short batch is filled up and costs as much as a full one, and a stage runs over a third of one class
 * (all of it in compat mode): larger batches than the largest such part would be work for nothing.
 */
function stageBatch(
  { batch, classifier }: ImageNetwork,
  items: readonly ImageItem[],
  targets: readonly SplitTarget[],
  compat: boolean,
): number {
  if (classifier.batch !== null) return batch;
  const sizes = targets.flatMap((t) => t.classes).map((t) => items.filter((item) => item.label === t).length);
  const largest = Math.max(1, ...sizes);
  return Math.min(batch, compat ? largest : Math.ceil(largest / 3));
}

/** The folder's images with the study's numbers of classes: folders are told by their names. */
async function itemsOfStudy(
  context: Context,
  study: Study,
  targets: readonly SplitTarget[],
): Promise<{ root: string; items: ImageItem[] }> {
  const { root, list } = await imagesOption(context, false);
  const numbers = new Map(study.meta.classes.map((name, t) => [name, t]));
  const items = list.items.flatMap((item): ImageItem[] => {
    const label = numbers.get(list.classes[item.label] ?? "");
    return label === undefined ? [] : [{ path: item.path, label }];
  });
  const there = new Set(items.map((item) => item.label));
  const missing = [...new Set(targets.flatMap((t) => t.classes))].filter((t) => !there.has(t));
  if (missing.length > 0)
    throw new UnbraidError(
      "input",
      "IMAGES_CLASSES_OTHER",
      `${root} has no sub-folder for ${missing.map((t) => `"${study.meta.classes[t] ?? t}"`).join(", ")}`,
      "Give the folder that the study was made of, or one with the same sub-folders.",
    );
  const digest = listDigest(items.map((item) => ({ path: item.path, class: item.label })));
  if (digest !== study.meta.images.digest)
    context.out.note("the images are not exactly those of the study: rho is chosen on the ones given");
  return { root, items };
}

function byClass(context: Context, network: ImageNetwork, root: string, items: readonly ImageItem[]): ClassImages {
  const of = new Map<number, ImageItem[]>();
  for (const item of items) of.set(item.label, [...(of.get(item.label) ?? []), item]);
  return {
    count: (t) => of.get(t)?.length ?? 0,
    batches: (t, positions) => {
      const all = of.get(t) ?? [];
      const some = positions === undefined ? all : positions.flatMap((k) => all[k] ?? []);
      return imageBatches(context, network, { root, items: some });
    },
  };
}
