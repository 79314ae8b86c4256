/** Threads that read, decode and preprocess images beside the main one. Node only. */
import { Worker } from "node:worker_threads";
import { compiledPath } from "../compiled.ts";
import { UnbraidError, type ErrorKind } from "../errors.ts";
import type { PreparedImage, PrepareTask } from "./prepare.ts";

/** To a thread. */
export interface Request {
  readonly id: number;
  readonly task: PrepareTask;
}

/** From a thread: one of the three. */
export interface Answer {
  readonly id: number;
  readonly image?: PreparedImage;
  readonly error?: {
    readonly kind: ErrorKind;
    readonly code: string;
    readonly message: string;
    readonly remedy: string;
  };
  /** A fault of our own: its stack. */
  readonly fault?: string;
}

interface Pending {
  readonly path: string;
  readonly resolve: (image: PreparedImage) => void;
  readonly reject: (error: unknown) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly pending: Map<number, Pending>;
}

/** Images that a thread has at once: libvips decodes one, on a thread of its own, while JavaScript resizes the other. */
const EACH = 2;

/** More threads would wait for libuv's four, on which libvips decodes (docs/performance.md). */
const MOST_THREADS = 5;
/** What a pool takes: each thread has memory of its own. */
export const POOL_THREADS = 64;
/** Images that pay for a thread: starting it and compiling its code take as long as preprocessing some 130 photographs. */
const IMAGES_A_THREAD = 250;

/**
 * Threads that make a run through `images` faster than the main thread alone. It decodes beside its other work as fast as
 * two cores can.
 */
export function usualThreads(cores: number, images: number): number {
  if (cores <= 2) return 0;
  return Math.min(cores - 1, MOST_THREADS, Math.floor(images / IMAGES_A_THREAD));
}

const MAIN = compiledPath("./image-worker.js", import.meta.url);

export class ImagePool implements Disposable {
  readonly #threads: Thread[] = [];
  /** Why nothing is prepared any more. */
  #ended: unknown;
  #next = 0;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = (): void => {
    this.#end(this.#signal?.reason);
  };

  /**
   * @param threads 0 to 64 @param signal ends the threads at once, with its reason
   * @throws RangeError for another number of threads
   */
  constructor(threads: number, signal?: AbortSignal) {
    this.#signal = signal;
    signal?.addEventListener("abort", this.#onAbort);
    if (signal?.aborted === true) this.#onAbort();
    this.grow(threads);
  }

  get size(): number {
    return this.#threads.length;
  }

  /** Images worth asking for at once; of a pool that has ended too, which then says why. */
  get concurrency(): number {
    return EACH * Math.max(1, this.#threads.length);
  }

  /** Starts threads until there are so many. */
  grow(threads: number): void {
    if (!Number.isInteger(threads) || threads < 0 || threads > POOL_THREADS)
      throw new RangeError(`${threads} threads, not a whole number from 0 to ${POOL_THREADS}`);
    while (this.#ended === undefined && this.#threads.length < threads) this.#threads.push(this.#start());
  }

  /**
   * prepareImage in the thread that has least to do; in this one, where the pool has none.
   * @throws UnbraidError as prepareImage; IMAGE_WORKER when a thread has ended by itself, out of memory for one; the signal's
   * reason
   */
  prepare(task: PrepareTask): Promise<PreparedImage> {
    return new Promise((resolve, reject) => {
      const [first, ...others] = this.#threads;
      if (this.#ended !== undefined) {
        reject(asError(this.#ended));
        return;
      }
      if (first === undefined) {
        // Not before it is needed: it loads native code.
        resolve(import("./prepare.ts").then(({ prepareImage }) => prepareImage(task, this.#signal)));
        return;
      }
      const thread = others.reduce((least, t) => (t.pending.size < least.pending.size ? t : least), first);
      const id = this.#next++;
      thread.worker.postMessage({ id, task } satisfies Request); // throws where a task cannot be cloned
      thread.pending.set(id, { path: task.path, resolve, reject });
    });
  }

  #start(): Thread {
    const thread: Thread = { worker: new Worker(MAIN), pending: new Map() };
    const { worker, pending } = thread;
    worker.on("message", ({ id, image, error, fault }: Answer) => {
      const asked = pending.get(id);
      pending.delete(id);
      if (image !== undefined) asked?.resolve(image);
      else if (error !== undefined)
        asked?.reject(new UnbraidError(error.kind, error.code, error.message, error.remedy));
      else asked?.reject(new Error(`in a thread that decodes images: ${fault ?? "an answer without content"}`));
    });
    const died = (why: string, cause?: unknown): void => {
      this.#end(deadThread(why, [...pending.values()].map((p) => p.path), cause)); // prettier-ignore
    };
    worker.on("error", (error) => {
      died(error.message, error);
    });
    worker.on("messageerror", (error) => {
      died(error.message, error);
    });
    worker.on("exit", (code) => {
      died(`exit code ${code}`);
    });
    return thread;
  }

  /** The first reason counts; images that are under way are rejected with it. */
  #end(why: unknown): void {
    if (this.#ended !== undefined) return;
    this.#ended = why;
    this.#signal?.removeEventListener("abort", this.#onAbort);
    for (const { worker, pending } of this.#threads) {
      for (const { reject } of pending.values()) reject(asError(why));
      pending.clear();
      void worker.terminate();
    }
  }

  /** Ends the threads at once. */
  [Symbol.dispose](): void {
    this.#end(new Error("the pool of image threads is closed"));
  }
}

const asError = (why: unknown): Error => (why instanceof Error ? why : new Error(String(why)));

function deadThread(why: string, paths: readonly string[], cause: unknown): UnbraidError {
  const had = paths.length === 0 ? "" : ` while it had ${paths.join(" and ")}`;
  return new UnbraidError(
    "input",
    "IMAGE_WORKER",
    `a thread that decodes images ended${had}: ${why}`,
    "Use fewer --workers (0 decodes in the main thread), or leave out images that are too large for the memory; bundles leave `unbraid` outside.",
    { cause },
  );
}
