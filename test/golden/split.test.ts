/** Issue 3's row on split files: onnxruntime's logits of both files on the validation images, for every form. */
import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-node";
import { describe, expect, it } from "vitest";
import { findPairs } from "../../src/channels/find.ts";
import { setsFromStudy } from "../../src/channels/sets.ts";
import { must } from "../../src/errors.ts";
import { splitLayer, type SourceSets } from "../../src/graph/surgery.ts";
import { listImages } from "../../src/images/folder.ts";
import { batches } from "../../src/images/loader.ts";
import { PRESETS } from "../../src/images/presets.ts";
import { decodeModel } from "../../src/onnx/decode.ts";
import { goldenMeta, goldenStudy } from "../relevance/golden.ts";
import { sharedDir } from "../support/shared.ts";

const CASES = [
  ["cifar10-resnet20-layer3.2.conv2", "cifar10", ["", "-folded", "-dynamo"]],
  ["cifar10-resnet20-layer3.0.conv1", "cifar10", [""]],
  ["cifar100-bottleneck26-layer2.0.conv2", "cifar100", ["", "-folded"]],
  ["cifar100-bottleneck26-layer3.2.conv3", "cifar100", ["", "-folded", "-dynamo", "-negated"]],
] as const;

describe.skipIf(sharedDir === undefined).each(CASES)("split of %s (needs ../shared)", (name, dataset, forms) => {
  it.each(forms)('form "%s" computes the same on val in onnxruntime', { timeout: 600_000 }, async (form) => {
    const shared = sharedDir ?? "";
    const { layer, model: file, tau, p, gamma } = goldenMeta(name);
    const source = readFileSync(`${shared}/models/${file.replace(".onnx", `${form}.onnx`)}`);
    const model = decodeModel(source);
    // The sets of the trained form serve all: which inputs a part has does not change what the parts add up to.
    const study = goldenStudy(name);
    const channels = new Map<number, SourceSets>();
    for (const { channel, class1, class2 } of findPairs(study, { tau, p, gamma }).pairs) {
      const request = { channel, classes: [class1, class2], rho: 0.5, rule: "symmetric" } as const;
      const sets = setsFromStudy(study, request);
      channels.set(channel, sets);
    }
    expect(channels.size).toBeGreaterThan(3);
    const [stage = "", block = "", conv = ""] = layer.split(".");
    const names = [`/${stage}/${stage}.${block}/${conv}/Conv`, `${layer}.weight`];
    const nodeIndex = model.nodes.findIndex(
      (n) => n.opType === "Conv" && (names.includes(n.name) || names.includes(n.inputs[1] ?? "")),
    );
    const { bytes } = splitLayer(model, {
      nodeIndex,
      channels: [...channels].map(([channel, sets]) => ({ channel, concepts: 2, sets })),
    });
    const sessions = await Promise.all([source, bytes].map((b) => ort.InferenceSession.create(b)));

    const root = `${shared}/images/${dataset}/val`;
    const { items } = await listImages(root);
    let worst = 0;
    let size = 0;
    let flips = 0;
    for await (const { tensor, items: batch } of batches({ root, items, spec: PRESETS[dataset], batchSize: 100 })) {
      const input = new ort.Tensor("float32", tensor, [batch.length, 3, 32, 32]);
      const [before, after] = await Promise.all(
        sessions.map(async (s) => Array.from(must((await s.run({ input })).logits, "logits").data as Float32Array)),
      );
      const T = must(before, "logits").length / batch.length;
      for (let i = 0; i < batch.length; i++) {
        const [a, b] = [before, after].map((l) => must(l, "logits").slice(i * T, (i + 1) * T)) as [number[], number[]];
        a.forEach((v, t) => {
          worst = Math.max(worst, Math.abs(v - (b[t] ?? NaN)));
          size = Math.max(size, Math.abs(v));
        });
        if (a.indexOf(Math.max(...a)) !== b.indexOf(Math.max(...b))) flips++;
      }
    }
    expect(flips).toBe(0);
    // The split layer rounds its n products thrice and adds the parts: 3 (n + 2) u of its values at the very most, and the
    // layers after it pass that on at about its size, as normalised layers do.
    const n = (study.meta.layer.inChannels / study.meta.layer.groups) * study.meta.layer.kernel[0] ** 2;
    expect(worst).toBeLessThanOrEqual(3 * (n + 2) * 2 ** -24 * size);
    await Promise.all(sessions.map((s) => s.release()));
  });
});
