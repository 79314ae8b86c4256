/** A network as a classifier: what shapes of images it takes. */
import { describe, expect, it } from "vitest";
import { UnbraidError } from "../../src/errors.ts";
import { batchShape, classifierOf } from "../../src/graph/classifier.ts";
import type { GraphInput } from "../../src/graph/graph.ts";

const classifier = (...shape: (number | null)[]) => {
  const input: GraphInput = { name: "x", type: "float32", shape };
  return classifierOf({ opset: 17, nodes: [], constants: new Map(), inputs: [input], outputs: ["logits"] });
};

const refusal = (work: () => unknown): UnbraidError => {
  try {
    work();
  } catch (error) {
    if (error instanceof UnbraidError) return error;
  }
  throw new Error("it was not refused");
};

describe("the shape of a batch", () => {
  it("fills what the file leaves open", () => {
    expect(batchShape(classifier(null, 3, null, null), 4, [3, 20, 30])).toEqual([4, 3, 20, 30]);
  });

  it("names both sizes where images do not fit, and says how to prepare them", () => {
    const { code, message, remedy } = refusal(() => batchShape(classifier(null, 3, 224, 224), 4, [3, 32, 32]));
    expect([code, message]).toEqual(["INPUT_SHAPE", expect.stringMatching(/3x224x224.*3x32x32/)]);
    expect(remedy).toContain("--resize");
  });

  it("does not send images of other shapes to --crop, which cuts squares", () => {
    const { remedy } = refusal(() => batchShape(classifier(null, 3, 36, 28), 4, [3, 36, 36]));
    expect(remedy).toMatch(/--crop out.* 28 x 36 pixels.*--resize 28/);
  });

  it("says what to do where channels come last, as in Keras", () => {
    for (const shape of [
      [null, 96, 96, 3],
      [1, 28, 28, 1],
    ])
      expect(refusal(() => batchShape(classifier(...shape), 1, [3, 96, 96])).remedy).toContain("--inputs-as-nchw");
    // 3 x 3 images of 3 channels, or of one column, are no evidence.
    expect(refusal(() => batchShape(classifier(null, 3, 3, 3), 1, [3, 8, 8])).remedy).not.toContain("nchw");
    expect(refusal(() => batchShape(classifier(null, 3, 64, 1), 1, [3, 8, 8])).remedy).not.toContain("nchw");
  });

  it("keeps a batch size that the file fixes", () => {
    expect(refusal(() => batchShape(classifier(2, 3, 8, 8), 1, [3, 8, 8])).code).toBe("INPUT_BATCH");
  });
});
