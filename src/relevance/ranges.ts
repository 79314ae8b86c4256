/** Half-open ranges [from, to) of positions in a study's image list: sorted, disjoint, and joined where they touch. */

export type Range = readonly [from: number, to: number];

export function overlap(a: readonly Range[], b: readonly Range[]): Range | undefined {
  for (const [f, t] of a)
    for (const [g, u] of b) if (Math.max(f, g) < Math.min(t, u)) return [Math.max(f, g), Math.min(t, u)];
  return undefined;
}

/** Whether every position of `inner` is one of `outer`; both sorted, disjoint and joined. */
export const covers = (outer: readonly Range[], inner: readonly Range[]): boolean =>
  inner.every(([from, to]) => outer.some(([f, t]) => f <= from && to <= t));

/** The union of ranges that do not overlap, empty ones left out. */
export function joinRanges(ranges: readonly Range[]): Range[] {
  const joined: [number, number][] = [];
  for (const [from, to] of ranges.filter(([f, t]) => f < t).sort((a, b) => a[0] - b[0])) {
    const last = joined.at(-1);
    if (last?.[1] === from) last[1] = to;
    else joined.push([from, to]);
  }
  return joined;
}

export const rangesLength = (ranges: readonly Range[]): number => ranges.reduce((n, [from, to]) => n + to - from, 0);
export const showRange = ([from, to]: Range): string => `${from}-${to - 1}`;
