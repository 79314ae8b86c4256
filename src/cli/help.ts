/** The texts of --help. */
import type { Command } from "./command.ts";
import { GLOBAL_OPTIONS, type OptionSpecs } from "./options.ts";
import { table } from "./table.ts";

const indent = (text: string): string => text.replace(/^(?=.)/gm, "  ");

function optionTable(options: OptionSpecs): string {
  return table(
    ["", ""],
    Object.entries(options).map(([name, spec]) => [
      `--${name}${spec.type === "string" ? ` ${spec.value ?? "TEXT"}` : ""}`,
      spec.help + (spec.multiple === true ? " (may be repeated)" : ""),
    ]),
  ).replace(/^\n/, "");
}

export function commandHelp(command: Command): string {
  const own = Object.keys(command.options).length > 0 ? `\nOptions\n${indent(optionTable(command.options))}` : "";
  return [
    `unbraid ${command.name}: ${command.summary}\n`,
    `\nUsage\n${indent(command.usage.map((line) => `unbraid ${line}\n`).join(""))}`,
    command.details === undefined ? "" : `\n${command.details}\n`,
    own,
    `\nOptions of every command\n${indent(optionTable(GLOBAL_OPTIONS))}`,
    `\nExample\n${indent(command.example)}\n`,
  ].join("");
}

export function generalHelp(commands: readonly Command[], version: string): string {
  return [
    `unbraid ${version}: finds polysemantic channels in convolutional networks (ONNX), splits each into one channel per\n`,
    "concept, and proves that the network still computes the same function.\n",
    "\nUsage: unbraid COMMAND [ARGUMENTS] [OPTIONS]\n\nCommands\n",
    indent(
      table(
        ["", ""],
        commands.map((c) => [c.name, c.summary]),
      ).replace(/^\n/, ""),
    ),
    `\nOptions of every command\n${indent(optionTable(GLOBAL_OPTIONS))}`,
    "\n`unbraid COMMAND --help` shows a command's options and an example; `unbraid --version` the version.\n",
    "Exit codes and error codes: docs/errors.md.\n",
  ].join("");
}
