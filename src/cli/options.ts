/** What a command takes on its command line. */

export interface OptionSpec {
  readonly type: "string" | "boolean";
  /** May be given several times. */
  readonly multiple?: boolean;
  /** What stands for the value in the help: N, FILE, ... */
  readonly value?: string;
  readonly help: string;
}

export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

export interface CommandLineSpec {
  readonly name: string;
  /** Lines after `unbraid `. */
  readonly usage: readonly string[];
  /** The fewest and the most arguments that are no options. */
  readonly positionals: readonly [least: number, most: number];
  readonly options: OptionSpecs;
}

/** Options that every command takes. */
export const GLOBAL_OPTIONS = {
  adapter: {
    type: "string",
    value: "NAME",
    help: "hardware, lavapipe, swiftshader, or part of a name that `unbraid doctor` lists",
  },
  tune: {
    type: "string",
    value: "off|once|full",
    help: "measure which kernels are fastest here: never (off, the default), what no earlier run has measured, or all anew",
  },
  batch: {
    type: "string",
    value: "N",
    help: "images at a time (default: what is fast on the adapter, as far as --memory allows)",
  },
  memory: { type: "string", value: "MB", help: "GPU memory that the default of --batch may take (2048)" },
  workers: {
    type: "string",
    value: "N",
    help: "threads that decode images beside the main one (default: by the processor's cores and the number of images)",
  },
  json: { type: "boolean", help: "one JSON document on stdout; progress and notes as JSON lines on stderr" },
  quiet: { type: "boolean", help: "no notes and no progress on stderr" },
  help: { type: "boolean", help: "this text" },
} as const satisfies OptionSpecs;
