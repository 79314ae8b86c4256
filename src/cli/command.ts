/** What a command is: one file of commands/ exports one. */
import type { Context } from "./context.ts";

export interface OptionSpec {
  readonly type: "string" | "boolean";
  /** May be given several times. */
  readonly multiple?: boolean;
  /** What stands for the value in the help: N, FILE, ... */
  readonly value?: string;
  readonly help: string;
}

export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Lines after `unbraid `. */
  readonly usage: readonly string[];
  /** The fewest and the most arguments that are no options. */
  readonly positionals: readonly [least: number, most: number];
  readonly options: OptionSpecs;
  /** Command lines that work, each with what it is for. */
  readonly example: string;
  /** What the summary leaves out. */
  readonly details?: string;
  /** @returns the exit code; 0 where nothing is returned */
  run(context: Context): Promise<number | undefined>;
}

/** Options that every command takes. */
export const GLOBAL_OPTIONS = {
  adapter: {
    type: "string",
    value: "NAME",
    help: "hardware, lavapipe, swiftshader, or part of a name that `unbraid doctor` lists",
  },
  batch: { type: "string", value: "N", help: "images at a time (default: by their size)" },
  json: { type: "boolean", help: "one JSON document on stdout; progress and notes as JSON lines on stderr" },
  quiet: { type: "boolean", help: "no notes and no progress on stderr" },
  help: { type: "boolean", help: "this text" },
} as const satisfies OptionSpecs;

/**
 * The exit code of a check that was made and does not hold (`conformance` with failures, `verify` with a difference
 * above its bound). Codes of errors are EXIT_CODES; 1 is a fault of ours.
 */
export const CHECK_FAILED = 9;
