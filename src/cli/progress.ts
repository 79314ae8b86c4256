/** How far long work has come: a rewritten line on a terminal, now and then a line off it, events with --json. */
import type { Output } from "./output.ts";

/** Milliseconds between two reports. */
const INTERVAL = { live: 100, events: 1000, lines: 15_000 } as const;

export class Progress {
  readonly #out: Output;
  readonly #unit: string;
  readonly #total: number;
  readonly #start: number;
  readonly #now: () => number;
  /** Where this run began: what an earlier one had done says nothing about the speed. */
  readonly #first: number;
  #reported: number;
  #done: number;

  /**
   * @param unit in the plural: "images"
   * @param done how many were done before
   */
  constructor(out: Output, unit: string, total: number, done = 0, now: () => number = () => performance.now()) {
    this.#out = out;
    this.#unit = unit;
    this.#total = total;
    this.#first = done;
    this.#done = done;
    this.#now = now;
    this.#start = now();
    // Off a terminal the first line waits a little: short work prints none.
    this.#reported = out.live || out.json ? -Infinity : this.#start - INTERVAL.lines + 5000;
  }

  update(done: number): void {
    this.#done = done;
    const now = this.#now();
    const interval = this.#out.json ? INTERVAL.events : this.#out.live ? INTERVAL.live : INTERVAL.lines;
    if (now - this.#reported < interval) return;
    this.#reported = now;
    this.#report(now);
  }

  #report(now: number): void {
    const seconds = (now - this.#start) / 1000;
    const rate = (this.#done - this.#first) / Math.max(seconds, 1e-6);
    const left = rate > 0 ? (this.#total - this.#done) / rate : undefined;
    if (this.#out.json) {
      this.#out.event("progress", {
        unit: this.#unit,
        done: this.#done,
        total: this.#total,
        [`${this.#unit}_per_second`]: rate,
        seconds_left: left ?? null,
      });
      return;
    }
    const text =
      `${this.#done}/${this.#total} ${this.#unit}` +
      (left === undefined ? "" : `, ${rate.toPrecision(3)} a second, ${showSeconds(left)} left`);
    if (this.#out.live) this.#out.rewrite(text);
    else this.#out.note(text);
  }
}

/** 42 s, 3 min 5 s, 2 h 10 min. */
export function showSeconds(seconds: number): string {
  const s = Math.ceil(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}
