/** The command line: finds the command, runs it, and turns what it throws into a message and an exit code. */
import { readFileSync } from "node:fs";
import { EXIT_CODES, UnbraidError } from "../errors.ts";
import { nearest } from "../graph/names.ts";
import { checkPositionals, parseCommandLine, splitCommand, usageError } from "./arguments.ts";
import type { Command } from "./command.ts";
import { Context } from "./context.ts";
import { commandHelp, generalHelp } from "./help.ts";
import { listenForInterrupts } from "./interrupt.ts";
import { Output, type Streams } from "./output.ts";

/** Loaded when asked for: `--help` and `inspect` start without the others. */
export const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  doctor: async () => (await import("./commands/doctor.ts")).doctor,
  inspect: async () => (await import("./commands/inspect.ts")).inspect,
  run: async () => (await import("./commands/run.ts")).run,
  classify: async () => (await import("./commands/classify.ts")).classify,
  explain: async () => (await import("./commands/explain.ts")).explain,
  conformance: async () => (await import("./commands/conformance.ts")).conformance,
  study: async () => (await import("./commands/study.ts")).study,
  export: async () => (await import("./commands/export.ts")).exportCommand,
  merge: async () => (await import("./commands/merge.ts")).merge,
  find: async () => (await import("./commands/find.ts")).find,
  split: async () => (await import("./commands/split.ts")).split,
  verify: async () => (await import("./commands/verify.ts")).verify,
  evaluate: async () => (await import("./commands/evaluate.ts")).evaluate,
  plant: async () => (await import("./commands/plant.ts")).plant,
  score: async () => (await import("./commands/score.ts")).score,
  visualize: async () => (await import("./commands/visualize.ts")).visualize,
  report: async () => (await import("./commands/report.ts")).report,
  demo: async () => (await import("./commands/demo.ts")).demo,
  bench: async () => (await import("./commands/bench.ts")).bench,
};

/** 128 and the number of SIGPIPE: what a shell reports of a program whose reader has gone. */
const READER_GONE = 141;

function version(): string {
  const { version: v } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
    version?: unknown;
  };
  return typeof v === "string" ? v : "unknown";
}

/**
 * Runs one command line.
 * @param argv without the interpreter and the script
 * @returns the exit code: 0 only when what was asked was done
 */
export async function main(argv: readonly string[], streams: Streams = process): Promise<number> {
  using interrupt = listenForInterrupts((message) => {
    out.note(message, "interrupted");
  });
  const options = { json: argv.includes("--json"), quiet: argv.includes("--quiet") };
  const out = new Output(streams, options, interrupt.signal);
  const onPipe = (error: Error & { code?: string }): void => {
    if (error.code === "EPIPE") process.exit(READER_GONE);
  };
  process.stdout.on("error", onPipe);
  try {
    return await dispatch(argv, out, interrupt.signal);
  } catch (error) {
    return await report(error, out);
  } finally {
    process.stdout.removeListener("error", onPipe);
  }
}

async function dispatch(argv: readonly string[], out: Output, signal: AbortSignal): Promise<number> {
  const { name, rest } = splitCommand(argv);
  if (name === undefined) {
    if (rest.includes("--version")) {
      await out.data(`${version()}\n`);
      return 0;
    }
    const wanted = rest.includes("--help") || rest.includes("-h");
    const text = generalHelp(await Promise.all(Object.values(COMMANDS).map((load) => load())), version());
    if (wanted) {
      await out.data(text);
      return 0;
    }
    const [option] = rest;
    if (option !== undefined && !["--json", "--quiet"].includes(option))
      throw usageError("COMMAND_MISSING", `no command before ${option}`, "`unbraid --help` lists the commands.");
    out.raw(text);
    return EXIT_CODES.usage;
  }
  const known = name === "help" ? rest[0] : name;
  if (known === undefined) return dispatch(["--help"], out, signal);
  const load = Object.hasOwn(COMMANDS, known) ? COMMANDS[known] : undefined;
  if (load === undefined) throw unknownCommand(known);
  const command = await load();
  const args = parseCommandLine(command, name === "help" ? ["--help"] : rest);
  if (args.flag("help")) {
    await out.data(commandHelp(command));
    return 0;
  }
  checkPositionals(command, args);
  using context = new Context(args, out, signal);
  return (await command.run(context)) ?? 0;
}

function unknownCommand(name: string): UnbraidError {
  return usageError(
    "COMMAND_UNKNOWN",
    `there is no command "${name}"`,
    `Nearest: ${nearest(name, Object.keys(COMMANDS), 3).join(", ")}. \`unbraid --help\` lists all.`,
  );
}

async function report(error: unknown, out: Output): Promise<number> {
  if (error instanceof UnbraidError) {
    try {
      await out.error(error);
    } catch {
      // stdout is what failed; the exit code still tells.
    }
    return EXIT_CODES[error.kind];
  }
  const fault = error instanceof Error ? error : new Error(String(error));
  out.raw(`${fault.stack ?? fault.message}\n`);
  await out.error(
    new UnbraidError(
      "usage",
      "INTERNAL",
      `a fault of unbraid itself: ${fault.message}`,
      "Please report it with the lines above, the command line and the output of `unbraid doctor --json`.",
    ),
  );
  return 1;
}
