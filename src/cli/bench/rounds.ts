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

/** Short runs are repeated for so long: a timer's grain, a poll's delay and a moment's disturbance are then small. */
const SAMPLE_MS = 1000;
/**
 * Before each sample an engine runs for so long untimed, unless one run takes LONG_MS. After a rest of a tenth of a second a virtual
 * machine's processors are slower for as long: ResNet-50 took 240 ms in place of 155.
 */
const WARM_MS = 500;
const LONG_MS = 5000;
/** Before that: threads of the engine before it may still be spinning. */
const REST_MS = 150;

interface Contender {
  readonly engine: Engine;
  readonly times: number[];
  /** Of one run, about. */
  readonly ms: number;
  worst: Difference;
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** How many runs of `ms` each take so long together. */
const runsFor = (together: number, ms: number): number =>
  Math.max(1, Math.min(1000, Math.ceil(together / Math.max(ms, 0.01))));

async function sample(engine: Engine, ms: number): Promise<Sample> {
  await new Promise((resolve) => setTimeout(resolve, REST_MS));
  if (ms < LONG_MS) await engine.run(runsFor(WARM_MS, ms));
  return engine.run(runsFor(SAMPLE_MS, ms));
}

export async function compare(ours: Engine, peers: readonly Peer[], options: RoundsOptions): Promise<Rounds> {
  const { task, work, rounds, signal } = options;
  const absent: Absent[] = [];
  const refused: Verdict[] = [];
  let contenders: Contender[] = [];
  const opened: Engine[] = [];
  try {
    const { output } = await ours.run(1);
    const { ms } = await ours.run(1);
    for (const peer of peers) {
      signal.throwIfAborted();
      options.onPeer?.(peer.name);
      let first: Sample;
      try {
        const engine = await peer.open(task);
        opened.push(engine);
        first = await engine.run(1);
        const worst = differenceOf(output, first.output, work, task.precision);
        if (worst.holds) contenders.push({ engine, times: [], ms: (await engine.run(1)).ms, worst });
        else refused.push(verdict(peer.name, worst));
      } catch (error) {
        signal.throwIfAborted();
        absent.push({ peer: peer.name, why: messageOf(error) });
      }
    }
    const times: number[] = [];
    for (let round = 0; round < rounds && contenders.length > 0; round++) {
      signal.throwIfAborted();
      const mine = await sample(ours, ms);
      times.push(mine.ms);
      for (const contender of contenders) {
        let theirs: Sample;
        try {
          theirs = await sample(contender.engine, contender.ms);
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
