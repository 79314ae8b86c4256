/** Results that are not finite are said: `run` gives and counts them, `classify` refuses them. */
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { encodeNpy } from "../../src/cli/npy.ts";
import { countNonFinite } from "../../src/engine/finite.ts";
import { floats, modelBytes } from "../onnx/make.ts";
import { testAdapters } from "../support/gpu.ts";
import {
  CLASSES,
  classifierParts,
  errorOf,
  jsonOf,
  SIDE,
  temporaryFolder,
  unbraid,
  write,
  writeImages,
} from "./support.ts";

describe("countNonFinite", () => {
  it("counts NaN and both infinities, and no other number", () => {
    const ordinary = [0, -0, 1, -1e-45, 3.4028234663852886e38, -3.4028234663852886e38];
    expect(countNonFinite(Float32Array.from(ordinary))).toBe(0);
    expect(countNonFinite(Float32Array.of(NaN, 1, Infinity, -Infinity))).toBe(3);
    expect(countNonFinite(Float64Array.of(Number.MAX_VALUE, NaN))).toBe(1);
    expect(countNonFinite([])).toBe(0);
  });
});

describe.skipIf(testAdapters.length === 0)("commands", () => {
  const dir = temporaryFolder();
  const at = (name: string): string => join(dir, name);
  const adapter = ["--adapter", testAdapters[0] ?? ""];
  const model = at("net.onnx");
  let image = "";

  beforeAll(async () => {
    // Finite weights whose products overflow: the logits of class 1 alone.
    const parts = classifierParts();
    const head = Float32Array.from({ length: 24 }, (_, k) => (k >= 6 && k < 12 ? 3e38 : 1));
    const initializer = (parts.initializer ?? []).map((t) =>
      t.name === "head.weight"
        ? floats("head.weight", [4, 6], head)
        : t.name === "deep.weight"
          ? floats("deep.weight", [6, 1, 3, 3], new Float32Array(54).fill(50))
          : t,
    );
    write(model, modelBytes({ ...parts, initializer }));
    await writeImages(at("images"), 1);
    image = join(at("images"), CLASSES[0], "0.png");
  });

  it("run writes what the network computes, counts what is not finite, and warns even when quiet", async () => {
    const data = new Float32Array(2 * 3 * SIDE * SIDE).fill(1);
    const x = write(at("x.npy"), encodeNpy({ type: "float32", shape: [2, 3, SIDE, SIDE], data }));
    const ran = await unbraid("run", model, "--input", x, "--output", at("y.npy"), "--quiet", "--json", ...adapter);
    expect(ran.code).toBe(0);
    const result = jsonOf<{ outputs: { not_finite: number }[]; non_finite: Record<string, number> }>(ran);
    expect(result.non_finite).toEqual({ logits: 2 });
    expect(result.outputs[0]?.not_finite).toBe(2);
    expect(ran.stderr).toContain('\\"logits\\": 2 of 8 elements are NaN or infinite');
    const intermediate = await unbraid(
      "run",
      model,
      "--input",
      x,
      "--output",
      `f=${at("f.npy")}`,
      "--json",
      ...adapter,
    );
    expect(jsonOf<{ non_finite: unknown }>(intermediate).non_finite).toEqual({});
    expect(intermediate.stderr).not.toContain("NaN");
  });

  it("classify names the image, the value and the class", async () => {
    const error = await errorOf("classify", model, image, ...adapter);
    expect(error).toMatchObject({ code: "NOT_FINITE", exit: 4 });
    expect(error.message).toContain(`${image}: 1 of the 4 logits ("logits") are not finite; that of class 1 is `);
  });
});
