/** What a command is: one file of commands/ exports one. */
import type { Context } from "./context.ts";
import type { CommandLineSpec } from "./options.ts";

export interface Command extends CommandLineSpec {
  /** One line for the list of commands. */
  readonly summary: string;
  /** Command lines that work, each with what it is for. */
  readonly example: string;
  /** What the summary leaves out. */
  readonly details?: string;
  /** @returns the exit code; 0 where nothing is returned */
  run(context: Context): Promise<number | undefined>;
}

/**
 * The exit code of a check that was made and does not hold (`conformance` with failures, `verify` with a difference
 * above its bound). Codes of errors are EXIT_CODES; 1 is a fault of ours.
 */
export const CHECK_FAILED = 9;
