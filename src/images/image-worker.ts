/** The thread of an ImagePool: prepares the images that it is sent. Node only. */
import { parentPort } from "node:worker_threads";
import { must, UnbraidError } from "../errors.ts";
import type { Answer, Request } from "./image-pool.ts";
import { prepareImage } from "./prepare.ts";

const port = must(parentPort, "a parent thread");

port.on("message", (request: Request) => {
  void answer(request);
});

async function answer({ id, task }: Request): Promise<void> {
  try {
    const image = await prepareImage(task);
    port.postMessage({ id, image } satisfies Answer, [image.data.buffer]);
  } catch (error) {
    port.postMessage({ id, ...failure(error) } satisfies Answer);
  }
}

/** Classes do not pass between threads: an error goes as its fields. */
function failure(error: unknown): Omit<Answer, "id"> {
  if (error instanceof UnbraidError) {
    const { kind, code, message, remedy } = error;
    return { error: { kind, code, message, remedy } };
  }
  return { fault: error instanceof Error ? (error.stack ?? error.message) : String(error) };
}
