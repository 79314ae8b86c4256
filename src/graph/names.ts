/** Suggestions for names that were mistyped. */

/** The `count` names nearest to `name`: by edit distance, those that contain it first. */
export function nearest(name: string, known: readonly string[], count = 5): string[] {
  const wanted = name.toLowerCase();
  return known
    .map((k) => ({ k, d: k.toLowerCase().includes(wanted) ? -1 : distance(wanted, k.toLowerCase()) }))
    .sort((a, b) => a.d - b.d || (a.k < b.k ? -1 : 1))
    .slice(0, count)
    .map(({ k }) => k);
}

/** Levenshtein distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
