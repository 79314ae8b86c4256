/**
 * The only place that prints. Data goes to stdout; everything else to stderr: as text, or with --json as one JSON object
 * a line.
 */
import { UnbraidError } from "../errors.ts";

/** What a stream must do for us; process.stdout and process.stderr do. */
export interface TextStream {
  write(text: string, done?: (error?: Error | null) => void): boolean;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export interface Streams {
  readonly stdout: TextStream;
  readonly stderr: TextStream;
}

export interface OutputOptions {
  readonly json: boolean;
  readonly quiet: boolean;
}

export class Output {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly #streams: Streams;
  readonly #signal: AbortSignal | undefined;
  /** The progress line that stands on the terminal, to be cleared before anything else is written. */
  #line = "";

  /** @param signal once it is aborted, no result is printed: a command that never looked at it ends so too */
  constructor(streams: Streams, options: OutputOptions, signal?: AbortSignal) {
    this.#streams = streams;
    this.#signal = signal;
    this.json = options.json;
    this.quiet = options.quiet;
  }

  /** Whether a line on stderr can be rewritten. */
  get live(): boolean {
    return this.#streams.stderr.isTTY === true && !this.json && process.env.TERM !== "dumb";
  }

  /** The command's result, once, at its end. @throws UnbraidError OUTPUT_UNWRITABLE, DISK_FULL, INTERRUPTED */
  async result(json: unknown, text: string): Promise<void> {
    this.#signal?.throwIfAborted();
    await this.data(this.json ? `${JSON.stringify(json, undefined, 1)}\n` : text);
  }

  /** @throws UnbraidError OUTPUT_UNWRITABLE, DISK_FULL; a closed pipe ends the process instead (see main) */
  data(text: string): Promise<void> {
    this.#clear();
    return new Promise((resolve, reject) => {
      this.#streams.stdout.write(text, (error) => {
        // Of a pipe without a reader the stream's own event tells, and ends the process (see main).
        if (error && "code" in error && error.code === "EPIPE") return;
        if (error) reject(stdoutError(error));
        else resolve();
      });
    });
  }

  /** Something worth knowing. Nothing with --quiet. */
  note(message: string, event = "note", fields: Readonly<Record<string, unknown>> = {}): void {
    if (!this.quiet) this.#say(event, message, fields);
  }

  /** Something that may be wrong: said even with --quiet. */
  warn(message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.#say("warning", this.json ? message : `warning: ${message}`, fields);
  }

  /** An event that has no line of text. */
  event(name: string, fields: Readonly<Record<string, unknown>>): void {
    if (this.json && !this.quiet) this.#write(`${JSON.stringify({ event: name, ...fields })}\n`);
  }

  /** Puts `text` where the last such line stands. Only on a terminal. */
  rewrite(text: string): void {
    if (!this.live || this.quiet) return;
    const width = (this.#streams.stderr.columns ?? 80) - 1;
    this.#line = text.slice(0, width);
    this.#streams.stderr.write(`\r\u001b[K${this.#line}`);
  }

  /** Removes the rewritten line. */
  #clear(): void {
    if (this.#line === "") return;
    this.#line = "";
    this.#streams.stderr.write("\r\u001b[K");
  }

  /** Leaves the rewritten line where it stands. */
  keepLine(): void {
    if (this.#line === "") return;
    this.#line = "";
    this.#streams.stderr.write("\n");
  }

  async error(error: UnbraidError): Promise<void> {
    const { code, message, remedy } = error;
    if (this.json) {
      await this.data(`${JSON.stringify({ error: { code, message, remedy } }, undefined, 1)}\n`);
      return;
    }
    this.#write(`${this.#red("error")} ${code}: ${message}\n  ${remedy}\n`);
  }

  /** Text for stderr, whatever the options: a stack trace. */
  raw(text: string): void {
    this.#write(text);
  }

  #say(event: string, message: string, fields: Readonly<Record<string, unknown>>): void {
    this.#write(this.json ? `${JSON.stringify({ event, message, ...fields })}\n` : `${message}\n`);
  }

  #write(text: string): void {
    this.#clear();
    this.#streams.stderr.write(text);
  }

  #red(text: string): string {
    const { NO_COLOR } = process.env;
    const plain = !this.live || (NO_COLOR !== undefined && NO_COLOR !== ""); // https://no-color.org
    return plain ? text : `\u001b[31m${text}\u001b[39m`;
  }
}

function stdoutError(cause: Error): UnbraidError {
  const full = "code" in cause && (cause.code === "ENOSPC" || cause.code === "EDQUOT");
  return full
    ? new UnbraidError("output", "DISK_FULL", "stdout cannot be written: the disk is full", "Free some space.", {
        cause,
      })
    : new UnbraidError(
        "output",
        "OUTPUT_UNWRITABLE",
        `stdout cannot be written: ${cause.message}`,
        "Send it somewhere else.",
        { cause },
      );
}
