/** The adapter's ceiling by its own probes: measured before, between and after the networks, for machines are busy now and then. */
import type { Figure } from "../../channels/statistics.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import { measureSpeed, type Speed } from "../probe.ts";
import type { Ceiling } from "./document.ts";

export class CeilingProbes {
  readonly #gpu: Gpu;
  readonly #software: boolean;
  readonly #found: Speed[] = [];

  constructor(gpu: Gpu, software: boolean) {
    this.#gpu = gpu;
    this.#software = software;
  }

  async probe(times: number): Promise<void> {
    for (let k = 0; k < times; k++) this.#found.push(await measureSpeed(this.#gpu, this.#software));
  }

  /** The best: whatever else runs makes a probe slower, nothing makes it faster. */
  get ceiling(): Ceiling {
    const best = (key: keyof Speed): Figure => {
      const rates = this.#found.map((speed) => speed[key]);
      const value = Math.max(...rates);
      return { value, low: Math.min(...rates), high: value, n: rates.length };
    };
    return { gflops: best("gflops"), gbytes_per_second: best("gbytes_per_second") };
  }
}
