/**
 * Keeps Dawn's Node binding from burning a processor core while the GPU works.
 *
 * The binding polls its devices for as long as any promise is pending. It does so by looking up `globalThis.setImmediate`
 * afresh for every poll and handing it a new anonymous native function, which comes to 15,000 to 100,000 polls a second: on a
 * software adapter that core is taken from the very work being waited for. While a throttle is held, `setImmediate` is
 * replaced by one that recognises such functions and spaces them out; everybody else's calls go through untouched.
 * (Another native add-on's anonymous function would be delayed too, by 4 ms at the most; that is harmless.)
 */
import { setImmediate as systemSetImmediate, setTimeout as systemSetTimeout } from "node:timers";

/** The first polls of a wait come at full speed, so that short waits are not lengthened. */
const EAGER_MS = 0.3;
/** After that a poll waits for this share of the time already waited, within these bounds: 2 % late at the most, or 1 ms. */
const SHARE = 0.02;
const LONGEST_MS = 4;
/**
 * Waits often last as long as those before: a network runs again and again. A poll takes some 40 us of a processor on which
 * a software adapter would compute. So until EARLY of what the shortest of the last REMEMBERED took, polls are rare; about then
 * they are frequent.
 */
const REMEMBERED = 4;
const EARLY = 0.85;
const LATE = 1.2;
const RARE_SHARE = 0.06;
const RAREST_MS = 16;

/**
 * Milliseconds until the next poll of a wait that began `waited` ms ago; 0 is at once. Node's timers round up to 1 ms.
 * @param usual what waits have lasted of late; 0: they differ
 */
export function pollDelay(waited: number, usual = 0): number {
  if (waited < EAGER_MS) return 0;
  const early = EARLY * usual - waited;
  if (early > 1) return Math.max(1, Math.floor(Math.min(RAREST_MS, RARE_SHARE * usual, early)));
  if (waited < LATE * usual) return 1;
  return Math.min(LONGEST_MS, Math.max(1, Math.floor(waited * SHARE)));
}

type Callback = (...args: unknown[]) => void;

const sourceText = (value: Callback): string => Function.prototype.toString.call(value);

/** A function made by a native add-on without a name: a JavaScript function shows its source, a bound one is called "bound". */
function isAnonymousNative(callback: unknown): callback is () => void {
  return (
    typeof callback === "function" &&
    callback.name === "" &&
    callback.length === 0 &&
    sourceText(callback as Callback).endsWith("{ [native code] }")
  );
}

type SetImmediate = typeof globalThis.setImmediate;

let holders = 0;
let polls = 0;
let waitBegan = 0;
let insidePoll = false;
/** Polls that were asked for: one more after a poll than before, and its wait goes on. */
let asked = 0;
/** How long the last waits were. */
const waits: number[] = [];

function waitEnded(): void {
  waits.push(performance.now() - waitBegan);
  if (waits.length > REMEMBERED) waits.shift();
}

const usualWait = (): number => (waits.length < REMEMBERED ? 0 : Math.min(...waits));

/** What we put in place, and what stood there before. */
let installed: { ours: SetImmediate; before: SetImmediate } | undefined;

/** Polls by the binding since the process began, while a throttle was held: for tests and measurements. */
export function pollCount(): number {
  return polls;
}

function schedulePoll(poll: () => void): NodeJS.Immediate | NodeJS.Timeout {
  const now = performance.now();
  // A poll that is asked for by a poll continues its wait; any other begins one.
  if (!insidePoll) waitBegan = now;
  asked++;
  const run = (): void => {
    polls++;
    insidePoll = true;
    const before = asked;
    try {
      poll();
    } finally {
      insidePoll = false;
      if (asked === before) waitEnded();
    }
  };
  const delay = pollDelay(now - waitBegan, usualWait());
  return delay === 0 ? systemSetImmediate(run) : systemSetTimeout(run, delay);
}

function install(): void {
  const before = globalThis.setImmediate;
  const throttled = (callback: Callback, ...args: unknown[]): unknown => {
    if (holders > 0 && args.length === 0 && isAnonymousNative(callback)) return schedulePoll(callback);
    return before(callback, ...args);
  };
  // `util.promisify(setImmediate)` must go on working: Node keeps its promise form under a symbol on the function.
  for (const key of Object.getOwnPropertySymbols(before)) {
    Object.defineProperty(throttled, key, Object.getOwnPropertyDescriptor(before, key) ?? {});
  }
  const ours = throttled as SetImmediate;
  globalThis.setImmediate = ours;
  installed = { ours, before };
}

/** Spaces the binding's polls out until disposed of. May be held any number of times at once. */
export function throttlePolls(): Disposable {
  if (holders++ === 0 && installed === undefined) install();
  let held = true;
  return {
    [Symbol.dispose]() {
      if (!held) return;
      held = false;
      if (--holders > 0 || installed === undefined) return;
      // If somebody has wrapped ours meanwhile, it must stay; without a holder it only passes calls on.
      if (globalThis.setImmediate !== installed.ours) return;
      globalThis.setImmediate = installed.before;
      installed = undefined;
    },
  };
}
