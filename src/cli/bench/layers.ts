/** The per-layer table: where the GPU's time goes, beside what each layer must do at least. */
import type { KernelCall } from "../../kernels/operator.ts";
import { median } from "../../channels/statistics.ts";
import type { NodeWork } from "./work.ts";

export interface LayerTime {
  readonly node: string;
  readonly what: string;
  /** Shaders that ran for it, in order. */
  readonly kernels: readonly string[];
  /** GPU time of one run, in milliseconds: the median of the profiles. */
  readonly ms: number;
  /** Multiplications and additions of the direct way. */
  readonly operations: number;
  /** Inputs, weights and outputs, each once. */
  readonly bytes: number;
  /** 10^9 operations a second; null where none are counted. */
  readonly gflops: number | null;
}

/** A dispatch's label begins with the name of its node: "conv1: tiles of the input". */
function nodeOf(label: string, names: ReadonlySet<string>): string {
  for (let end = label.length; end > 0; end--) {
    const part = label.slice(0, end);
    if (names.has(part) && (end === label.length || [":", ","].includes(label[end] ?? ""))) return part;
  }
  return label;
}

const kernelOf = ({ shader, entry }: KernelCall): string => {
  const name = typeof shader === "string" ? shader : shader.name;
  return entry === undefined ? name : `${name}:${entry}`;
};

/** @param profiles nanoseconds of each of `calls`, one list a profile */
export function layerTimes(
  calls: readonly KernelCall[],
  profiles: readonly (readonly number[])[],
  work: readonly NodeWork[],
): LayerTime[] {
  const byName = new Map(work.map((w) => [w.node.name, w]));
  const names = new Set(byName.keys());
  const rows = new Map<string, { kernels: string[]; ms: number }>();
  calls.forEach((call, k) => {
    const name = nodeOf(call.label, names);
    const row = rows.get(name) ?? { kernels: [], ms: 0 };
    row.kernels.push(kernelOf(call));
    row.ms += median(profiles.map((p) => p[k] ?? NaN)) / 1e6;
    rows.set(name, row);
  });
  return [...rows].map(([node, { kernels, ms }]) => {
    const { what = "", operations = 0, bytes = 0 } = byName.get(node) ?? {};
    return {
      node,
      what,
      kernels,
      ms,
      operations,
      bytes,
      gflops: operations > 0 && ms > 0 ? operations / ms / 1e6 : null,
    };
  });
}
