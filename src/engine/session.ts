/** A network on a device: weights uploaded once, plans compiled for the shapes and results that are asked for. */
import { UnbraidError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { sizeOf, type Graph, type HostTensor } from "../graph/graph.ts";
import { Executable } from "./executable.ts";
import { gradientName, makePlan, seedName, type PlanRequest } from "./plan.ts";
import type { Precision } from "./precision.ts";
import { tunerOf } from "./tuners.ts";
import { WeightStore } from "./weights.ts";

/** Each keeps its activations: enough for a full batch, a last one, and a gradient of either. */
const KEPT_PLANS = 4;

export class Session implements Disposable {
  readonly gpu: Gpu;
  readonly graph: Graph;
  readonly #precision: Precision | undefined;
  readonly #weights: WeightStore;
  readonly #open = new Set<Executable>();
  /** The plans of `run` and `gradient` used last, the latest at the end. */
  readonly #cache = new Map<string, Promise<Executable>>();
  /** Runs take turns: two at once would overwrite each other's inputs. */
  #turn: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #closed = false;

  /**
   * Borrows `gpu`: disposing the session frees the network's memory and leaves the device open.
   * @param options.precision of all plans that do not ask for another (PlanRequest.precision)
   * @throws UnbraidError PRECISION_MISSING where the device does not have it
   */
  constructor(gpu: Gpu, graph: Graph, { precision }: { readonly precision?: Precision | undefined } = {}) {
    precision?.checkDevice(gpu);
    this.gpu = gpu;
    this.graph = graph;
    this.#precision = precision;
    this.#weights = new WeightStore(gpu);
  }

  /**
   * Compiles a plan. It stays valid until it is disposed or the session is.
   * @throws UnbraidError what planning, compiling and allocating throw; PRECISION_MISSING as the constructor
   */
  async prepare(asked: PlanRequest): Promise<Executable> {
    this.#check();
    const request = { ...asked, precision: asked.precision ?? this.#precision };
    request.precision?.checkDevice(this.gpu);
    const { subgroups, workgroupBytes } = this.gpu;
    const tiles = await tunerOf(this.gpu)?.tune(this.graph, request);
    this.#check();
    const plan = makePlan(this.graph, request, { subgroups, workgroupBytes, tiles });
    let executable: Executable;
    try {
      executable = await Executable.make(this.gpu, plan, this.#weights);
    } catch (e) {
      this.#check(); // what was freed meanwhile fails otherwise, and says less
      throw e;
    }
    if (this.#closed) {
      executable[Symbol.dispose]();
      this.#weights[Symbol.dispose]();
    }
    this.#check();
    this.#open.add(executable);
    return executable;
  }

  /** Frees a plan that `prepare` made. */
  release(executable: Executable): void {
    this.#open.delete(executable);
    executable[Symbol.dispose]();
  }

  /**
   * Runs the network once.
   * @param inputs every graph input, with its shape; BigInt64Arrays, as other runtimes have for int64, are taken too
   * @param outputs values by name; the graph's outputs unless told
   * @returns float32, in each value's shape; what the network computes, NaN and infinities too (see countNonFinite)
   */
  async run(inputs: ReadonlyMap<string, HostTensor>, outputs = this.graph.outputs): Promise<Map<string, HostTensor>> {
    return this.exclusively(async () => {
      const executable = await this.#cached(inputs, outputs);
      executable.run(floats(inputs));
      return shaped(executable, await executable.read(outputs), (n) => n);
    });
  }

  /**
   * Gradients of the scalar sum(seed * of).
   * @param request.of a value of the graph; `seed` has its shape (a one-hot row an image for a logit)
   * @param request.wrt values that `of` depends on; the backward pass goes no further than they need
   * @returns for each of `wrt` an array in its shape
   * @throws UnbraidError GRADIENT_NONE, GRADIENT_UNSUPPORTED, VALUE_UNKNOWN, INPUT_SIZE
   */
  async gradient(
    inputs: ReadonlyMap<string, HostTensor>,
    request: { readonly of: string; readonly seed: Float32Array; readonly wrt: readonly string[] },
  ): Promise<Map<string, HostTensor>> {
    const { of, seed, wrt } = request;
    return this.exclusively(async () => {
      const executable = await this.#cached(inputs, [], { of, wrt });
      executable.run(new Map([...floats(inputs), [seedName(of), seed]]));
      return shaped(executable, await executable.read(wrt.map(gradientName)), gradientName, wrt);
    });
  }

  /** Waits for the runs before it, and lets none begin until `work` is done. */
  exclusively<T>(work: () => Promise<T>): Promise<T> {
    this.#waiting++;
    const mine = this.#turn
      .then(() => {
        this.#check();
        return work();
      })
      .finally(() => {
        this.#waiting--;
        if (this.#closed && this.#waiting === 0) this.#free();
      });
    this.#turn = mine.catch(() => undefined);
    return mine;
  }

  #check(): void {
    if (!this.#closed) return;
    throw new UnbraidError("device", "SESSION_CLOSED", "the session is disposed", "Open a new one.");
  }

  /** Plans are kept for the few sets of shapes and results that were asked for last. */
  async #cached(
    inputs: ReadonlyMap<string, HostTensor>,
    outputs: readonly string[],
    gradient?: { of: string; wrt: readonly string[] },
  ): Promise<Executable> {
    const shapes = new Map([...inputs].map(([name, t]) => [name, t.shape]));
    const key = JSON.stringify([[...shapes], outputs, gradient ?? null]);
    const made =
      this.#cache.get(key) ??
      this.prepare({ inputs: shapes, outputs, ...(gradient === undefined ? {} : { gradient }) });
    this.#cache.delete(key);
    this.#cache.set(key, made);
    made.catch(() => this.#cache.delete(key));
    for (const [old, plan] of this.#cache) {
      if (this.#cache.size <= KEPT_PLANS) break;
      this.#cache.delete(old);
      this.release(await plan);
    }
    return made;
  }

  /** Frees the network's memory: at once, or when the run that is under way has ended. No other begins. */
  [Symbol.dispose](): void {
    this.#closed = true;
    if (this.#waiting === 0) this.#free();
  }

  #free(): void {
    for (const executable of this.#open) executable[Symbol.dispose]();
    this.#open.clear();
    this.#cache.clear();
    this.#weights[Symbol.dispose]();
  }
}

function floats(inputs: ReadonlyMap<string, HostTensor>): Map<string, Float32Array> {
  return new Map(
    [...inputs].map(([name, t]) => {
      if (t.data.length !== sizeOf(t.shape)) {
        throw new UnbraidError(
          "input",
          "INPUT_SIZE",
          `"${name}" has ${t.data.length} numbers, but shape ${t.shape.join("x")} needs ${sizeOf(t.shape)}`,
          "Give the array and its shape the same size.",
        );
      }
      return [name, t.data instanceof Float32Array ? t.data : Float32Array.from(t.data, Number)];
    }),
  );
}

function shaped(
  executable: Executable,
  results: ReadonlyMap<string, Float32Array>,
  nameOf: (name: string) => string,
  names: readonly string[] = [...results.keys()],
): Map<string, HostTensor> {
  return new Map(
    names.map((n) => {
      const data = results.get(nameOf(n)) ?? new Float32Array(0);
      return [n, { type: "float32", shape: executable.plan.results.get(nameOf(n))?.shape ?? [], data }];
    }),
  );
}
