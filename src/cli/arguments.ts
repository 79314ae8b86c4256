/** The command line as typed values. Mistakes name the nearest thing that exists. */
import { parseArgs } from "node:util";
import { UnbraidError } from "../errors.ts";
import { nearest } from "../graph/names.ts";
import { GLOBAL_OPTIONS, type CommandLineSpec, type OptionSpecs } from "./options.ts";

export interface NumberRange {
  readonly integer?: boolean;
  readonly least?: number;
  readonly most?: number;
}

export function usageError(code: string, message: string, remedy: string): UnbraidError {
  return new UnbraidError("usage", code, message, remedy);
}

/** Options whose values are files that are written. */
const OUTPUTS = new Set(["npz", "out", "csv", "npy", "output"]);

export class Arguments {
  readonly positionals: readonly string[];
  readonly #values: ReadonlyMap<string, readonly string[]>;

  constructor(positionals: readonly string[], values: ReadonlyMap<string, readonly string[]>) {
    this.positionals = positionals;
    this.#values = values;
  }

  /** Whatever may name a file that the command reads: the arguments, and the values of options that name no output. */
  inputs(): string[] {
    const options = [...this.#values].filter(([name]) => !OUTPUTS.has(name)).flatMap(([, values]) => values);
    // `run --input NAME=FILE`
    return [...this.positionals, ...options.flatMap((value) => [value, value.slice(value.indexOf("=") + 1)])];
  }

  flag(name: string): boolean {
    return this.#values.has(name);
  }

  text(name: string): string | undefined {
    return this.#values.get(name)?.at(-1);
  }

  /** Every value of an option that may be repeated. */
  texts(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  /** @throws UnbraidError OPTION_MISSING */
  required(name: string, what: string): string {
    const value = this.text(name);
    if (value !== undefined) return value;
    throw usageError("OPTION_MISSING", `--${name} is missing: ${what}`, `Add --${name}; --help shows an example.`);
  }

  /** @throws UnbraidError OPTION_VALUE */
  number(name: string, range: NumberRange = {}): number | undefined {
    const text = this.text(name);
    return text === undefined ? undefined : toNumber(name, text, range);
  }

  /** Numbers of an option that may be repeated, each value a list with commas. @throws UnbraidError OPTION_VALUE */
  numbers(name: string, range: NumberRange = {}): number[] {
    return this.texts(name).flatMap((text) => text.split(",").map((part) => toNumber(name, part, range)));
  }

  /** The argument at `index`, which the command's `positionals` guarantee. */
  positional(index: number): string {
    return this.positionals[index] ?? "";
  }
}

function toNumber(
  name: string,
  text: string,
  { integer = false, least = -Infinity, most = Infinity }: NumberRange,
): number {
  const value = text.trim() === "" ? NaN : Number(text);
  if (Number.isFinite(value) && (!integer || Number.isInteger(value)) && value >= least && value <= most) return value;
  const kind = integer ? "a whole number" : "a number";
  const from = least === -Infinity ? "" : ` from ${least}`;
  const to = most === Infinity ? (from === "" ? "" : " up") : ` to ${most}`;
  throw usageError("OPTION_VALUE", `--${name} must be ${kind}${from}${to}, not "${text}"`, `Correct --${name}.`);
}

/** The name of the command, and the rest of the command line. */
export function splitCommand(argv: readonly string[]): { name: string | undefined; rest: readonly string[] } {
  const { tokens } = parseArgs({ args: [...argv], options: parseable(GLOBAL_OPTIONS), strict: false, tokens: true });
  const first = tokens.find((token) => token.kind === "positional");
  if (first === undefined) return { name: undefined, rest: argv };
  return { name: first.value, rest: argv.filter((_, k) => k !== first.index) };
}

/**
 * @throws UnbraidError kind "usage": OPTION_UNKNOWN with the nearest options, OPTION_VALUE, OPTION_TWICE,
 * ARGUMENTS_MISSING, ARGUMENTS_TOO_MANY
 */
export function parseCommandLine(command: CommandLineSpec, argv: readonly string[]): Arguments {
  const options: OptionSpecs = { ...command.options, ...GLOBAL_OPTIONS };
  const { tokens } = parseArgs({ args: [...argv], options: parseable(options), strict: false, tokens: true });
  const positionals: string[] = [];
  const values = new Map<string, string[]>();
  for (const token of tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    const { name } = token;
    const spec = Object.hasOwn(options, name) ? options[name] : undefined;
    if (spec === undefined) throw unknownOption(token.rawName, command.name, Object.keys(options));
    if (spec.type === "boolean" && token.value !== undefined)
      throw usageError("OPTION_VALUE", `--${name} takes no value, given "${token.value}"`, `Write --${name} alone.`);
    // Without this check `--out --limit 3` would write to a file called "--limit".
    if (spec.type === "string" && (token.value === undefined || (!token.inlineValue && token.value.startsWith("--"))))
      throw usageError(
        "OPTION_VALUE",
        `--${name} needs a value (${spec.value ?? "TEXT"})`,
        `Write --${name} ${spec.value ?? "TEXT"}.`,
      );
    const list = values.get(name) ?? [];
    if (list.length > 0 && spec.multiple !== true && spec.type === "string")
      throw usageError("OPTION_TWICE", `--${name} is given twice`, "Give it once.");
    values.set(name, [...list, token.value ?? ""]);
  }
  return new Arguments(positionals, values);
}

/** Not part of parsing: `--help` must work without them. */
export function checkPositionals(command: CommandLineSpec, args: Arguments): void {
  const n = args.positionals.length;
  const [least, most] = command.positionals;
  const usage = `Usage: ${command.usage.map((line) => `unbraid ${line}`).join("; ")}.`;
  if (n < least)
    throw usageError(
      "ARGUMENTS_MISSING",
      `\`unbraid ${command.name}\` needs ${least} argument${least === 1 ? "" : "s"}, given ${n}`,
      usage,
    );
  if (n > most)
    throw usageError(
      "ARGUMENTS_TOO_MANY",
      `\`unbraid ${command.name}\` takes ${most} argument${most === 1 ? "" : "s"}, given ${n}: ${args.positionals.join(" ")}`,
      usage,
    );
}

function unknownOption(raw: string, command: string, known: readonly string[]): UnbraidError {
  const near = nearest(raw.replace(/^-+/, ""), known, 3).map((name) => `--${name}`);
  return usageError(
    "OPTION_UNKNOWN",
    `\`unbraid ${command}\` has no option ${raw}`,
    `Nearest: ${near.join(", ")}. \`unbraid ${command} --help\` lists all.`,
  );
}

type Parseable = Record<string, { type: "string" | "boolean"; multiple?: boolean; short?: string }>;

const parseable = (options: OptionSpecs): Parseable =>
  Object.fromEntries(
    Object.entries(options).map(([name, { type }]) => [name, { type, ...(name === "help" ? { short: "h" } : {}) }]),
  );
