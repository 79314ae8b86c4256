/** The page's side of the worker: a call is a promise, with progress and an AbortSignal. */
import type { Answer, Failure, FromWorker, Method, Progress, Request, ToWorker } from "./protocol.ts";

/** What went wrong, in the words of the library's errors. */
export class WorkFailed extends Error {
  override readonly name = "WorkFailed";
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(failure.message);
    this.failure = failure;
  }
}

interface Waiting {
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly onProgress: (progress: Progress) => void;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
}

export class Client {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #next = 0;

  constructor(worker: Worker) {
    this.#worker = worker;
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      const waiting = this.#waiting.get(data.id);
      if (waiting === undefined) return;
      if ("progress" in data) {
        waiting.onProgress(data.progress);
        return;
      }
      this.#waiting.delete(data.id);
      if ("failure" in data) waiting.reject(new WorkFailed(data.failure));
      else waiting.resolve(data.answer);
    };
    worker.onerror = (event) => {
      const remedy = "Reload the page. If it happens again, please report it.";
      const failure = { code: "WORKER_FAILED", message: event.message || "the worker ended", remedy };
      for (const { reject } of this.#waiting.values()) reject(new WorkFailed(failure));
      this.#waiting.clear();
    };
  }

  call<M extends Method>(method: M, request: Request<M>, options: CallOptions = {}): Promise<Answer<M>> {
    const id = this.#next++;
    return new Promise<Answer<M>>((resolve, reject) => {
      this.#waiting.set(id, {
        resolve: resolve as (answer: unknown) => void,
        reject,
        onProgress: options.onProgress ?? (() => undefined),
      });
      options.signal?.addEventListener("abort", () => {
        this.#post({ cancel: id });
      });
      this.#post({ id, method, request });
    });
  }

  #post(message: ToWorker): void {
    this.#worker.postMessage(message);
  }
}
