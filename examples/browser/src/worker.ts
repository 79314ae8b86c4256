/** The worker: takes requests in turn, answers each, and stops one that is cancelled. */
import "./dispose.ts";
import { UnbraidError } from "unbraid";
import type { Failure, FromWorker, Method, Progress, ToWorker } from "./protocol.ts";
import { Workbench } from "./workbench.ts";

// TypeScript's types of pages and of workers exclude each other: this is what a worker's global object has of interest here.
interface Scope {
  onmessage: ((event: MessageEvent<ToWorker>) => void) | null;
  postMessage(message: FromWorker): void;
}
const scope = globalThis as unknown as Scope;

const bench = new Workbench();
const running = new Map<number, AbortController>();
let turn: Promise<unknown> = Promise.resolve();

scope.onmessage = ({ data }) => {
  if ("cancel" in data) {
    running.get(data.cancel)?.abort();
    return;
  }
  const controller = new AbortController();
  running.set(data.id, controller);
  turn = turn.then(() => answer(data.id, data.method, data.request, controller.signal));
};

async function answer(id: number, method: Method, request: unknown, signal: AbortSignal): Promise<void> {
  const onProgress = (progress: Progress): void => {
    scope.postMessage({ id, progress });
  };
  try {
    signal.throwIfAborted();
    // The page's side of the protocol is typed; here the message is what it says.
    const run = bench[method].bind(bench) as (request: unknown, job: unknown) => unknown;
    const result = await run(request, { signal, onProgress });
    scope.postMessage({ id, answer: result });
  } catch (error) {
    scope.postMessage({ id, failure: describe(error, signal) });
  } finally {
    running.delete(id);
  }
}

function describe(error: unknown, signal: AbortSignal): Failure {
  if (signal.aborted) return { code: "INTERRUPTED", message: "stopped", remedy: "Begin again when you like." };
  if (error instanceof UnbraidError) return { code: error.code, message: error.message, remedy: error.remedy };
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return { code: "INTERNAL", message, remedy: "This is a fault of Unbraid itself: please report it." };
}
