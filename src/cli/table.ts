/** Tables for people. */

/** Columns aligned by spaces; numbers to the right. Cells are shown as they are. */
export function table(header: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const lines = [header, ...rows].map((row) => row.map(String));
  const widths = header.map((_, k) => Math.max(...lines.map((line) => (line[k] ?? "").length)));
  const right = header.map((_, k) => rows.length > 0 && rows.every((row) => typeof row[k] === "number"));
  return lines
    .map((line) =>
      line
        .map((cell, k) => (right[k] === true ? cell.padStart(widths[k] ?? 0) : cell.padEnd(widths[k] ?? 0)))
        .join("  ")
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join("");
}

/** 1536 as 1.5 KiB. */
export function showBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const k = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10));
  return `${Number((bytes / 2 ** (10 * k)).toPrecision(3))} ${units[k] ?? ""}`;
}
