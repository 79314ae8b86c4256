/** Numbers as people read them. */
import type { Cell, Measure } from "./data.ts";

/** Three significant digits; no exponent between a thousandth and a million. */
export function showNumber(x: number): string {
  if (Number.isNaN(x)) return "undefined";
  if (!Number.isFinite(x)) return x > 0 ? "infinite" : "minus infinity";
  if (Number.isInteger(x) && Math.abs(x) < 1e9) return String(x);
  const size = Math.abs(x);
  if (size >= 1e6 || size < 1e-3) return x.toExponential(2);
  return String(Number(x.toPrecision(3)));
}

/** "0.83 (0.78 to 0.88, n = 40)" */
export function showMeasure({ value, low, high, n }: Measure): string {
  const interval = low === undefined || high === undefined ? [] : [`${showNumber(low)} to ${showNumber(high)}`];
  const rest = [...interval, ...(n === undefined ? [] : [`n = ${n}`])];
  return showNumber(value) + (rest.length === 0 ? "" : ` (${rest.join(", ")})`);
}

export const showCell = (cell: Cell): string =>
  typeof cell === "string" ? cell : typeof cell === "number" ? showNumber(cell) : showMeasure(cell);
