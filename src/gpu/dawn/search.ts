/** Which of the adapters that are there is used: the order of the search, apart from how adapters are come by. */
import { UnbraidError } from "../../errors.ts";

/** "lavapipe" is Mesa's Vulkan driver on the processor (its device is called llvmpipe); "software" is any other such driver. */
export type AdapterKind = "hardware" | "lavapipe" | "swiftshader" | "software";

/** The earlier, the better. */
const RANKS: readonly AdapterKind[] = ["hardware", "lavapipe", "swiftshader", "software"];
export const rank = (kind: AdapterKind): number => RANKS.indexOf(kind);

/** An adapter that was found. */
export interface Candidate<T> {
  readonly name: string;
  readonly kind: AdapterKind;
  /** What the driver says of itself, for people. */
  readonly description: string;
  /** Makes it ready for use; rejects when it does not work after all. */
  open(): Promise<T>;
}

/** Something that was looked for and cannot be used, and why. */
export interface Problem {
  readonly name: string;
  readonly problem: string;
}

/** Gives what it finds one at a time, so that nothing is started after what is wanted has been found. */
export type AdapterSource<T> = () => AsyncGenerator<Candidate<T> | Problem>;

/** The kind in full, or part of the name or description; in any case of letters. */
export function matches(candidate: Pick<Candidate<unknown>, "name" | "kind" | "description">, wanted: string): boolean {
  const text = wanted.toLowerCase();
  return (
    candidate.kind === text ||
    candidate.name.toLowerCase().includes(text) ||
    candidate.description.toLowerCase().includes(text)
  );
}

const INSTALL =
  "Install a Vulkan driver: your GPU's own, or Mesa's software one (lavapipe; Mesa 25 works, 22 does not: on Debian 12 " +
  "`apt install -t bookworm-backports mesa-vulkan-drivers`), or, without root, `npm install @sparticuz/chromium@141.0.0` (Linux on x64).";

/**
 * The first adapter that works, by source and inside a source by kind; of those that match `wanted` when it is given.
 * A better kind of a later source wins over SwiftShader or another software driver of an earlier one.
 *
 * @throws UnbraidError ADAPTER_UNKNOWN when none matches, ADAPTER_NONE when none works at all
 */
export async function chooseAdapter<T>(sources: readonly AdapterSource<T>[], wanted?: string): Promise<T> {
  const seen: Candidate<T>[] = [];
  const problems: Problem[] = [];
  let fallback: { opened: T; rank: number } | undefined;

  for (const source of sources) {
    for await (const found of source()) {
      if ("problem" in found) {
        problems.push(found);
        continue;
      }
      seen.push(found);
      if (wanted !== undefined && !matches(found, wanted)) continue;
      if (fallback !== undefined && fallback.rank <= rank(found.kind)) continue;
      try {
        const opened = await found.open();
        if (wanted !== undefined || rank(found.kind) <= rank("lavapipe")) return opened;
        fallback = { opened, rank: rank(found.kind) };
      } catch (error) {
        problems.push({ name: found.name, problem: error instanceof Error ? error.message : String(error) });
      }
    }
  }
  if (fallback !== undefined) return fallback.opened;

  const reasons = problems.map(({ name, problem }) => `${name}: ${problem}`).join("; ");
  const usable = seen.filter(({ name }) => !problems.some((p) => p.name === name));
  if (wanted !== undefined && usable.length > 0) {
    throw new UnbraidError(
      "adapter",
      "ADAPTER_UNKNOWN",
      `no adapter matches "${wanted}"; there ${usable.length === 1 ? "is" : "are"} ` +
        usable.map(({ name, kind }) => `${name} (${kind})`).join(", ") +
        (reasons === "" ? "" : `; not usable: ${reasons}`),
      "Give --adapter a kind (hardware, lavapipe, swiftshader, software) or part of a name that `unbraid doctor` lists.",
    );
  }
  throw new UnbraidError("adapter", "ADAPTER_NONE", `no adapter can be used (${reasons})`, INSTALL);
}
