/**
 * Which slots share memory. Two slots may share a buffer when no dispatch lies in both of their lifetimes (inclusive:
 * a dispatch never reads and writes one buffer, which WebGPU forbids).
 */

export interface Lifetime {
  readonly bytes: number;
  /** Index of the first and of the last dispatch that touches the slot. */
  readonly first: number;
  readonly last: number;
}

export interface Assignment {
  /** For each slot, the buffer that holds it. */
  readonly bufferOf: readonly number[];
  readonly bufferBytes: readonly number[];
}

/**
 * Largest first: each slot goes into the first buffer that is free throughout its lifetime, else into a new one. Since
 * slots come in falling size, every buffer is as large as its first slot and never grows.
 */
export function assignBuffers(slots: readonly Lifetime[]): Assignment {
  const order = slots.map((_, i) => i).sort((a, b) => (slots[b]?.bytes ?? 0) - (slots[a]?.bytes ?? 0) || a - b);
  const bufferOf = new Array<number>(slots.length).fill(-1);
  const buffers: { bytes: number; held: Lifetime[] }[] = [];
  for (const i of order) {
    const slot = slots[i];
    if (slot === undefined) continue;
    let k = buffers.findIndex((b) => b.held.every((h) => h.last < slot.first || slot.last < h.first));
    if (k < 0) {
      k = buffers.length;
      buffers.push({ bytes: slot.bytes, held: [] });
    }
    buffers[k]?.held.push(slot);
    bufferOf[i] = k;
  }
  return { bufferOf, bufferBytes: buffers.map((b) => b.bytes) };
}

/** The most bytes that are alive at one dispatch: what no assignment can go below. */
export function largestLiveSet(slots: readonly Lifetime[]): number {
  let most = 0;
  for (const at of new Set(slots.map((s) => s.first))) {
    const live = slots.reduce((sum, s) => (s.first <= at && at <= s.last ? sum + s.bytes : sum), 0);
    most = Math.max(most, live);
  }
  return most;
}
