/** Alternating runs of engines on one network: ours, then each peer, then again. What does not agree is not timed. */
import type { Engine, Peer, Sample, Task } from "./engine.ts";
import { differenceOf, type Difference, type NodeWork } from "./work.ts";

export interface Verdict extends Omit<Difference, "holds"> {
  readonly peer: string;
}

export interface Absent {
  readonly peer: string;
  readonly why: string;
}

export interface Rounds {
  /** Milliseconds of a run, one a round. */
  readonly ours: readonly number[];
  /** The same of every peer whose outputs agreed with ours in every round. */
  readonly peers: ReadonlyMap<string, readonly number[]>;
  /** The largest difference of any round. */
  readonly agreed: readonly Verdict[];
  readonly refused: readonly Verdict[];
  readonly absent: readonly Absent[];
}

export interface RoundsOptions {
  readonly task: Task;
  readonly work: readonly NodeWork[];
  readonly rounds: number;
  readonly signal: AbortSignal;
  readonly onRound?: (done: number) => void;
  readonly onPeer?: (name: string) => void;
  /** Called with the engines that agree, when the rounds are done. */
  readonly after?: (agreeing: readonly Engine[]) => Promise<void>;
}

/** Short runs are repeated for so long, so that a timer's grain and a poll's delay do not matter. */
const SAMPLE_MS = 150;
/** Before each sample: threads of the engine before it may still be spinning. */
const REST_MS = 150;

interface Contender {
  readonly engine: Engine;
  readonly times: number[];
  readonly repeats: number;
  worst: Difference;
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const rest = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, REST_MS));

const repeatsFor = (ms: number): number => Math.max(1, Math.min(1000, Math.ceil(SAMPLE_MS / Math.max(ms, 0.01))));

export async function compare(ours: Engine, peers: readonly Peer[], options: RoundsOptions): Promise<Rounds> {
  const { task, work, rounds, signal } = options;
  const absent: Absent[] = [];
  const refused: Verdict[] = [];
  let contenders: Contender[] = [];
  const opened: Engine[] = [];
  try {
    const { output } = await ours.run(1);
    const repeats = repeatsFor((await ours.run(1)).ms);
    for (const peer of peers) {
      signal.throwIfAborted();
      options.onPeer?.(peer.name);
      let first: Sample;
      try {
        const engine = await peer.open(task);
        opened.push(engine);
        first = await engine.run(1);
        const worst = differenceOf(output, first.output, work, task.precision);
        if (worst.holds) contenders.push({ engine, times: [], repeats: repeatsFor((await engine.run(1)).ms), worst });
        else refused.push(verdict(peer.name, worst));
      } catch (error) {
        signal.throwIfAborted();
        absent.push({ peer: peer.name, why: messageOf(error) });
      }
    }
    const times: number[] = [];
    for (let round = 0; round < rounds && contenders.length > 0; round++) {
      signal.throwIfAborted();
      await rest();
      const mine = await ours.run(repeats);
      times.push(mine.ms);
      for (const contender of contenders) {
        await rest();
        let theirs: Sample;
        try {
          theirs = await contender.engine.run(contender.repeats);
        } catch (error) {
          signal.throwIfAborted(); // ctrl-C reaches the peer's process too
          absent.push({ peer: contender.engine.name, why: messageOf(error) });
          contender.worst = { ...contender.worst, holds: false };
          continue;
        }
        contender.times.push(theirs.ms);
        const found = differenceOf(mine.output, theirs.output, work, task.precision);
        if (!found.holds) refused.push(verdict(contender.engine.name, found));
        if (!found.holds || found.difference > contender.worst.difference) contender.worst = found;
      }
      contenders = contenders.filter((c) => c.worst.holds);
      options.onRound?.(round + 1);
    }
    if (contenders.length > 0) await options.after?.(contenders.map((c) => c.engine));
    return {
      ours: contenders.length === 0 ? [] : times,
      peers: new Map(contenders.map((c) => [c.engine.name, c.times])),
      agreed: contenders.map((c) => verdict(c.engine.name, c.worst)),
      refused,
      absent,
    };
  } finally {
    await Promise.all(opened.map((engine) => engine.close()));
  }
}

const verdict = (peer: string, { difference, bound }: Difference): Verdict => ({ peer, difference, bound });
