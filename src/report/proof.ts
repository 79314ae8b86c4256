/** What `verify` found, as the report's proof. */
import type { Verification } from "../channels/verify.ts";
import type { Cell, Table } from "./data.ts";
import { showNumber } from "./numbers.ts";

/** The JSON document of `unbraid verify`, as far as it is read here. */
export interface VerificationDocument extends Verification {
  readonly holds: boolean;
  readonly layers: readonly string[];
}

export function proofTable(v: VerificationDocument): Table {
  const percent = (x: number): string => `${showNumber(100 * x)} %`;
  const rows: Cell[][] = [
    ["images, through both networks", v.images],
    ["stored parts against the channel's weights, largest difference", v.weights.max_abs_diff],
    ["the layer's output, largest difference", v.max_abs_diff],
    ["the bound of that element", v.bound],
    ["largest error over its own bound", v.ratio],
    ["largest difference of any other channel", v.other_channels],
    ["largest difference of a logit", v.logits],
    ["images whose top class changed", v.flips],
    ["accuracy before, after", `${percent(v.accuracy.before)}, ${percent(v.accuracy.after)}`],
  ];
  if (v.onnxruntime === null) rows.push(["onnxruntime's opinion", "not asked: onnxruntime-node is not installed"]);
  else
    rows.push(
      ["onnxruntime: largest difference of a logit", v.onnxruntime.max_abs_diff],
      ["onnxruntime: images whose top class changed", v.onnxruntime.flips],
    );
  return { caption: `Both networks on the same images, ${v.layers.join(", ")}`, columns: ["what", "value"], rows };
}

export function proofSentence(v: VerificationDocument): string {
  if (!v.holds)
    return "The check FAILED: a difference exceeds what rounding can explain, or stored weights have changed. Do not use this split.";
  const ort =
    v.onnxruntime === null ? "" : ` In onnxruntime, asked for a second opinion, ${count(v.onnxruntime.flips)}.`;
  return `The largest error is ${showNumber(v.ratio)} of the bound that rounding cannot exceed, and ${count(v.flips)} among ${v.images} images.${ort}`;
}

/** One line for the findings. */
export const proofFinding = (v: VerificationDocument): string =>
  v.holds
    ? `The split network computes the same function: ${count(v.flips)} among ${v.images} images, the largest error ${showNumber(v.ratio)} of its bound${v.onnxruntime === null ? "" : `; onnxruntime agrees (${count(v.onnxruntime.flips)})`}.`
    : "THE SPLIT NETWORK DOES NOT COMPUTE THE SAME FUNCTION: see the proof.";

const count = (flips: number): string =>
  flips === 0 ? "no top class changes" : `${flips} top class${flips === 1 ? " changes" : "es change"}`;
