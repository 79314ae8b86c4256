/** Our engine as one that is timed, and what else can be told of it: GPU time, memory, the event loop's share. */
import { readFileSync } from "node:fs";
import type { Executable } from "../../engine/executable.ts";
import type { Precision } from "../../engine/precision.ts";
import { gradientName, seedName, type Plan } from "../../engine/plan.ts";
import { Session } from "../../engine/session.ts";
import { must } from "../../errors.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import { sizeOf, type Graph } from "../../graph/graph.ts";
import { concatenated, type Engine, type Feed, type Sample, type Task } from "./engine.ts";

type Inputs = ReadonlyMap<string, Float32Array>;

const inputsOf = (feeds: readonly Feed[]): Inputs => new Map(feeds.map((f) => [f.name, f.data]));

export class OurEngine implements Engine {
  readonly name = "ours";
  readonly #gpu: Gpu;
  readonly #session: Session;
  readonly #executable: Executable;
  readonly #task: Task;
  readonly #inputs: Inputs;
  /** Of a core, a sample each. */
  readonly loopShares: number[] = [];
  readonly threadShares: number[] = [];

  private constructor(gpu: Gpu, session: Session, executable: Executable, task: Task) {
    this.#gpu = gpu;
    this.#session = session;
    this.#executable = executable;
    this.#task = task;
    this.#inputs = inputsOf(task.feeds);
  }

  /** @param graph of the task's file, its inputs as they are stored */
  static async open(gpu: Gpu, graph: Graph, task: Task): Promise<OurEngine> {
    const session = new Session(gpu, graph, { precision: task.precision });
    try {
      const inputs = new Map(task.feeds.map((f) => [f.name, f.shape]));
      return new OurEngine(gpu, session, await session.prepare({ inputs, outputs: task.outputs }), task);
    } catch (error) {
      session[Symbol.dispose]();
      throw error;
    }
  }

  get precision(): Precision | undefined {
    return this.#task.precision;
  }

  get plan(): Plan {
    return this.#executable.plan;
  }

  async run(times: number, feeds?: readonly Feed[]): Promise<Sample> {
    const inputs = feeds === undefined ? this.#inputs : inputsOf(feeds);
    let results = new Map<string, Float32Array>();
    const loop = performance.eventLoopUtilization();
    const thread = threadMs();
    const began = performance.now();
    for (let k = 0; k < times; k++) {
      this.#executable.run(inputs);
      results = await this.#executable.read(this.#task.outputs);
    }
    const ms = performance.now() - began;
    this.loopShares.push(performance.eventLoopUtilization(loop).utilization);
    const after = threadMs();
    if (thread !== undefined && after !== undefined) this.threadShares.push((after - thread) / ms);
    return { ms: ms / times, output: concatenated([...results.values()]) };
  }

  /** Nanoseconds of each of the plan's dispatches, and the outputs of the run that they were measured in. */
  async profile(): Promise<{ times: number[]; output: Float32Array }> {
    const times = await this.#executable.profile(this.#inputs);
    return { times, output: concatenated([...(await this.#executable.read(this.#task.outputs)).values()]) };
  }

  /** A plan of the first output's gradient back to the first input. @param seed in the output's shape */
  async gradient(seed: Float32Array): Promise<{ run: () => Promise<Sample>; close: () => void }> {
    const [of = ""] = this.#task.outputs;
    const first = must(this.#task.feeds[0], "input");
    const shapes = new Map(this.#task.feeds.map((f) => [f.name, f.shape]));
    const made = await this.#session.prepare({ inputs: shapes, outputs: [], gradient: { of, wrt: [first.name] } });
    const inputs = new Map([...this.#inputs, [seedName(of), seed] as const]);
    const result = gradientName(first.name);
    return {
      run: async () => {
        const began = performance.now();
        made.run(inputs);
        const output = must((await made.read([result])).get(result), result);
        return { ms: performance.now() - began, output };
      },
      close: () => {
        this.#session.release(made);
      },
    };
  }

  /** Bytes of all that the plan reads and that does not change from run to run. */
  get weightBytes(): number {
    const { calls, slots } = this.plan;
    const used = new Map<string, number>();
    for (const { id } of calls.flatMap((call) => call.reads)) {
      const slot = slots[id];
      if (slot?.key !== undefined) used.set(slot.key, slot.bytes);
    }
    return [...used.values()].reduce((a, b) => a + b, 0);
  }

  get peakBytes(): number {
    return this.#gpu.peakBytes;
  }

  /** Elements of the first output. */
  get firstOutputShape(): readonly number[] {
    return this.plan.results.get(this.#task.outputs[0] ?? "")?.shape ?? [];
  }

  get firstOutputSize(): number {
    return sizeOf(this.firstOutputShape);
  }

  close(): Promise<void> {
    this.#session[Symbol.dispose]();
    return Promise.resolve();
  }
}

/** Processor time of the main thread so far, where Linux tells it. (proc(5): schedstat, nanoseconds first) */
function threadMs(): number | undefined {
  try {
    return Number(/^\d+/.exec(readFileSync(`/proc/self/task/${process.pid}/schedstat`, "utf8"))?.[0]) / 1e6;
  } catch {
    return undefined;
  }
}
