/** Concurrent work with results in order. */

export interface InOrderOptions {
  /** Pieces of work that run at once. */
  readonly concurrency: number;
  /** Results, finished or not, that may wait to be taken. At least `concurrency` to use all of it. */
  readonly ahead: number;
  readonly signal?: AbortSignal;
}

type Outcome<R> = { readonly result: R } | { readonly error: unknown };

/**
 * Yields `work(item)` for each item in order, while up to `concurrency` later ones run. An error is thrown in its turn;
 * nothing new is started after it, nor after the consumer leaves, nor after the signal, whose reason is then thrown.
 */
export async function* inOrder<T, R>(
  items: readonly T[],
  work: (item: T) => Promise<R>,
  options: InOrderOptions,
): AsyncGenerator<{ item: T; result: R }, void, undefined> {
  const { concurrency, ahead, signal } = options;
  const waiting: { item: T; outcome: Promise<Outcome<R>> }[] = [];
  const idle: (() => void)[] = [];
  let running = 0;
  let stopped = false;
  let begun = 0;

  const turn = async (): Promise<void> => {
    while (running >= concurrency) await new Promise<void>((free) => idle.push(free));
    running++;
  };
  // Never rejects: a failure that nobody has come to yet must not count as unhandled.
  const run = async (item: T): Promise<Outcome<R>> => {
    await turn();
    try {
      if (stopped) throw new Error("stopped");
      signal?.throwIfAborted();
      return { result: await work(item) };
    } catch (error) {
      return { error };
    } finally {
      running--;
      idle.shift()?.();
    }
  };
  const refill = (): void => {
    for (; waiting.length < ahead && begun < items.length; begun++) {
      const item = items[begun] as T;
      waiting.push({ item, outcome: run(item) });
    }
  };

  try {
    for (;;) {
      signal?.throwIfAborted();
      refill();
      const next = waiting.shift();
      if (next === undefined) return;
      const outcome = await next.outcome;
      signal?.throwIfAborted();
      if ("error" in outcome) throw outcome.error;
      yield { item: next.item, result: outcome.result };
    }
  } finally {
    stopped = true;
    await Promise.all(waiting.map(({ outcome }) => outcome));
  }
}
