/** A command line as it could be typed again. */
import type { Arguments } from "./arguments.ts";
import type { Command } from "./command.ts";

/** Quoted where a POSIX shell would take it apart. */
export const quoted = (text: string): string =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;

export const showCommand = (argv: readonly string[]): string => `unbraid ${argv.map(quoted).join(" ")}`;

/** What was asked of a command: its arguments, then its options in the order of its help. */
export function commandLine({ name, options }: Command, args: Arguments): string {
  const given = Object.entries(options).flatMap(([option, { type }]) =>
    type === "boolean"
      ? args.flag(option)
        ? [`--${option}`]
        : []
      : args.texts(option).flatMap((value) => [`--${option}`, value]),
  );
  return showCommand([name, ...args.positionals, ...given]);
}
