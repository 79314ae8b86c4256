/** What is timed: an engine that holds one network for one size of batch. */
import type { Precision } from "../../engine/precision.ts";

export interface Feed {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** A network as all engines are given it. */
export interface Task {
  /** The ONNX file. */
  readonly path: string;
  readonly batch: number;
  readonly feeds: readonly Feed[];
  /** Values that each run reads back. */
  readonly outputs: readonly string[];
  /** How our engine stores weights and activations; peers compute in float32. */
  readonly precision: Precision | undefined;
  /** What `--adapter` calls the adapter that engines on a GPU must run on. */
  readonly adapter: "hardware" | "lavapipe" | "swiftshader" | "software";
}

export interface Sample {
  /** Of one run: inputs uploaded, computed, outputs read back. */
  readonly ms: number;
  /** The outputs of the last run, one after the other. */
  readonly output: Float32Array;
}

export interface Engine {
  /** Stands in the names of measures: onnxruntime_webgpu. */
  readonly name: string;
  /** Runs so many times, each when the one before has been read back. @param feeds other numbers than the task's */
  run(times: number, feeds?: readonly Feed[]): Promise<Sample>;
  close(): Promise<void>;
}

/** An engine to compare with: opens for a task, or says why it cannot. */
export interface Peer {
  readonly name: string;
  /** @throws Error whose message says why this peer is absent */
  open(task: Task): Promise<Engine>;
}

export function concatenated(parts: readonly ArrayLike<number>[]): Float32Array {
  const all = new Float32Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
