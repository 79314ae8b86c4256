/** What the shell examples take as given: a clone's models, or an ImageNet network with its folders. */
import { mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { encodeNpy } from "../../src/cli/npy.ts";
import { root } from "../cli/built.ts";
import { write } from "../cli/support.ts";
import { floats, modelBytes, node, noise, valueInfo } from "../onnx/make.ts";
import { onnx } from "../support/onnx-proto.ts";
import { resnetStandIn, SIDE } from "./stand-in.ts";

/** Where README's commands and those that go on from them run: a clone's root. */
export function clone(dir: string): void {
  symlinkSync(join(root, "models"), join(dir, "models"));
  symlinkSync(join(root, "examples"), join(dir, "examples"));
  array(dir, 64);
  operatorTests(dir);
}

/**
 * Where a reader with a network of ImageNet's shape is. The folders are those of the first hundred classes, called as
 * ImageNet's are, a few of the demo's images in each: `perClass` of them.
 */
export function imagenet(dir: string, perClass: Readonly<Record<string, number>>): void {
  write(join(dir, "resnet50.onnx"), resnetStandIn());
  const { names } = JSON.parse(readFileSync(join(root, "models", "wordnet", "imagenet.json"), "utf8")) as {
    names: Record<string, string>;
  };
  const ids = Object.keys(names).sort();
  for (const [part, count] of Object.entries(perClass)) {
    const from = join(root, "models", "images", part);
    for (const [t, name] of readdirSync(from).sort().entries()) {
      const to = join(dir, part, ids[t] ?? "");
      mkdirSync(to, { recursive: true });
      const files = readdirSync(join(from, name)).sort();
      const each = Math.floor(files.length / count);
      for (const file of files.filter((_, k) => k % each === 0).slice(0, count))
        symlinkSync(join(from, name, file), join(to, file));
    }
  }
  write(join(dir, "labels.txt"), ids.slice(0, 100).map((id) => `${names[id] ?? id}\n`).join("")); // prettier-ignore
  symlinkSync(join(root, "models", "images", "val", "dog", "tw-3.jpg"), join(dir, "dog.jpg"));
  array(dir, SIDE);
  operatorTests(dir);
}

function array(dir: string, side: number): void {
  const shape = [1, 3, side, side];
  write(join(dir, "x.npy"), encodeNpy({ type: "float32", shape, data: noise(1, 3 * side * side) }));
}

/** One of ONNX's operator tests, as its repository lays them out. */
function operatorTests(dir: string): void {
  const at = join(dir, "onnx-tests", "node", "test_conv_of_one");
  const [x, w] = [noise(1, 4), Float32Array.of(3)];
  const parts = {
    input: [valueInfo("x", [1, 1, 2, 2]), valueInfo("w", [1, 1, 1, 1])],
    output: [valueInfo("y", [1, 1, 2, 2])],
    node: [node("Conv", ["x", "w"], ["y"])],
  };
  write(join(at, "model.onnx"), modelBytes(parts));
  const set = join(at, "test_data_set_0");
  for (const [file, name, shape, data] of [
    ["input_0.pb", "x", [1, 1, 2, 2], x],
    ["input_1.pb", "w", [1, 1, 1, 1], w],
    ["output_0.pb", "y", [1, 1, 2, 2], x.map((v) => 3 * v)],
  ] as const)
    write(join(set, file), onnx.TensorProto.encode(floats(name, [...shape], data)).finish());
}
