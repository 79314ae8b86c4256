/** What `unbraid bench` gives: the JSON document. Measures are figures, {value, low, high, n}. */
import type { Figure } from "../../channels/statistics.ts";
import type { LayerTime } from "./layers.ts";
import type { Absent, Verdict } from "./rounds.ts";

export interface NetworkResult {
  readonly network: string;
  readonly batch: number;
  /** Multiplications and additions of the direct way, each counted as one, an image. */
  readonly operations_an_image: number;
  /** Peers whose outputs agreed with ours in every round: the largest difference, and what rounding may do. */
  readonly validated: readonly Verdict[];
  /** Peers that did not agree: nothing of theirs is timed, and where nobody agrees nothing of ours. */
  readonly refused: readonly Verdict[];
  readonly absent: readonly Absent[];
  /** Empty where nobody agreed. */
  readonly measures: Readonly<Record<string, Figure>>;
  readonly layers?: readonly LayerTime[];
}

export interface Ceiling {
  /** 10^9 multiplications and additions a second; value is the best of the probes. */
  readonly gflops: Figure;
  readonly gbytes_per_second: Figure;
}

export interface BenchDocument {
  readonly adapter: { readonly name: string; readonly kind: string; readonly software: boolean };
  readonly date: string;
  readonly machine: {
    readonly processor: string;
    readonly cpus: number;
    readonly platform: string;
    readonly node: string;
    /** Processes that wanted to run before and after, mean of a minute: above 1 before, others were busy. */
    readonly load_before: number;
    readonly load_after: number;
  };
  /** How ours stores weights and activations. */
  readonly precision: string;
  readonly rounds: number;
  readonly ceiling: Ceiling;
  readonly networks: readonly NetworkResult[];
}
