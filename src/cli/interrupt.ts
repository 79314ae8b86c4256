/** Ctrl-C, or a terminal that closes: the first ends the command in order, the second at once. */
import { UnbraidError } from "../errors.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export interface Interrupt extends Disposable {
  readonly signal: AbortSignal;
}

/** @param say tells the user what happens */
export function listenForInterrupts(say: (message: string) => void): Interrupt {
  const controller = new AbortController();
  const stop = (): void => {
    for (const name of SIGNALS) process.removeListener(name, onSignal);
  };
  const onSignal = (name: NodeJS.Signals): void => {
    if (controller.signal.aborted) {
      // With no listener left, the signal does what it does by default, without waiting for the GPU.
      stop();
      process.kill(process.pid, name);
      return;
    }
    say("interrupted: ending in order; once more to end at once");
    controller.abort(
      new UnbraidError(
        "interrupted",
        "INTERRUPTED",
        `interrupted by ${name}`,
        "Run the command again; a study goes on with --resume.",
      ),
    );
  };
  for (const name of SIGNALS) process.on(name, onSignal);
  return { signal: controller.signal, [Symbol.dispose]: stop };
}
