/** The parent's end of a peer's process: see child-main.ts, and torch.ts for PyTorch's. */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Engine, Feed, Sample, Task } from "./engine.ts";

/** Begins the lines that answer: whatever else a peer prints is passed over. */
export const MARK = "@unbraid-bench ";

export interface ChildFeed {
  readonly name: string;
  readonly shape: readonly number[];
  /** float32, little-endian. */
  readonly file: string;
}

export interface Job {
  readonly path: string;
  readonly batch: number;
  readonly outputs: readonly string[];
  readonly adapter: Task["adapter"];
  /** onnxruntime's execution provider; "webgpu" for every other peer on a GPU. */
  readonly provider: "cpu" | "webgpu";
  /** Of the prototype. */
  readonly folder?: string;
  /** Of tfjs, which is given our graph: its inputs' shapes. */
  readonly shapes?: readonly (readonly [name: string, shape: readonly number[]])[];
}

export type Command =
  { readonly job: Job } | { readonly run: number; readonly output: string; readonly feeds?: readonly ChildFeed[] };

interface Answer {
  readonly ready?: boolean;
  readonly ms?: number;
  readonly error?: string;
}

/** Lines of a child's stderr that an error quotes. */
const QUOTED = 3;

export class ChildEngine implements Engine {
  readonly name: string;
  readonly #folder = mkdtempSync(join(tmpdir(), "unbraid-bench-"));
  readonly #child;
  readonly #ended: Promise<void>;
  #waiting: ((answer: Answer) => void) | undefined;
  #stderr = "";
  #gone: string | undefined;
  #feeds: readonly Feed[];

  constructor(name: string, command: readonly string[], feeds: readonly Feed[], environment: NodeJS.ProcessEnv = {}) {
    this.name = name;
    this.#feeds = feeds;
    const [program = "", ...args] = command;
    this.#child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, ...environment } });
    this.#child.stderr.on("data", (data: Buffer) => {
      this.#stderr = (this.#stderr + data.toString()).slice(-4000);
    });
    this.#child.stdin.on("error", () => undefined); // the end is reported by `close`
    createInterface({ input: this.#child.stdout }).on("line", (line) => {
      if (line.startsWith(MARK)) this.#settle(JSON.parse(line.slice(MARK.length)) as Answer);
    });
    this.#ended = new Promise((resolve) => {
      const end = (why: string): void => {
        this.#gone ??= why;
        this.#settle({ error: why });
        resolve();
      };
      this.#child.on("error", (error) => {
        end(error.message);
      });
      this.#child.on("close", (code, signal) => {
        const last = this.#stderr.trim().split("\n").slice(-QUOTED).join(" ");
        end(`its process ended (${signal ?? code ?? ""}) ${last}`.trim());
      });
    });
  }

  #settle(answer: Answer): void {
    this.#waiting?.(answer);
    this.#waiting = undefined;
  }

  async ask(command: unknown): Promise<Answer> {
    if (this.#gone !== undefined) throw new Error(this.#gone);
    const answer = await new Promise<Answer>((resolve) => {
      this.#waiting = resolve;
      this.#child.stdin.write(`${JSON.stringify(command)}\n`);
    });
    if (answer.error !== undefined) throw new Error(answer.error.split("\n")[0] ?? "");
    return answer;
  }

  async run(times: number, feeds: readonly Feed[] = this.#feeds): Promise<Sample> {
    const output = join(this.#folder, "output");
    const changed = this.#loaded === feeds ? {} : { feeds: this.#store(feeds) };
    const { ms = NaN } = await this.ask({ run: times, output, ...changed } satisfies Command);
    this.#loaded = feeds;
    const bytes = readFileSync(output);
    const copy = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
    return { ms, output: new Float32Array(copy) };
  }

  #loaded: readonly Feed[] | undefined;

  #store(feeds: readonly Feed[]): ChildFeed[] {
    return feeds.map(({ name, shape, data }, k) => {
      const file = join(this.#folder, `input${k}`);
      writeFileSync(file, data);
      return { name, shape, file };
    });
  }

  async close(): Promise<void> {
    this.#child.stdin.end();
    await this.#ended;
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
