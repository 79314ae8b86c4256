/** Measures, `{value, low, high, n}`, wherever they stand in what a command printed as JSON. */

export interface NamedMeasure {
  /** Keys and positions on the way to it: parts.0.fraction.median. */
  readonly name: string;
  /** Empty where it is undefined (null in JSON). */
  readonly value: number | "";
  readonly low?: number;
  readonly high?: number;
  readonly n?: number;
}

export function measuresOf(json: unknown, path: readonly string[] = []): NamedMeasure[] {
  if (typeof json !== "object" || json === null) return [];
  const entries = Object.entries(json);
  const of = Object.fromEntries(entries) as Record<string, unknown>;
  if ("value" in of && (typeof of.value === "number" || of.value === null)) {
    const number = (key: "low" | "high" | "n"): Partial<Record<typeof key, number>> =>
      typeof of[key] === "number" ? { [key]: of[key] } : {};
    return [{ name: path.join("."), value: of.value ?? "", ...number("low"), ...number("high"), ...number("n") }];
  }
  return entries.flatMap(([key, inner]) => measuresOf(inner, [...path, key]));
}

/** Lists of two numbers and more, with the keys on the way to them. */
export function numbersOf(json: unknown, path: readonly string[] = []): { name: string; numbers: readonly number[] }[] {
  if (typeof json !== "object" || json === null) return [];
  if (Array.isArray(json) && json.length > 1 && json.every((x): x is number => typeof x === "number"))
    return [{ name: path.join("."), numbers: json }];
  return Object.entries(json).flatMap(([key, inner]) => numbersOf(inner, [...path, key]));
}
