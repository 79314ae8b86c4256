/** The demo's steps: the commands themselves, on one device, their results kept instead of printed. */
import type { ImagePool } from "../images/image-pool.ts";
import type { Command } from "./command.ts";
import { parseCommandLine } from "./arguments.ts";
import { showCommand } from "./command-line.ts";
import { Context, type Device } from "./context.ts";
import { Output } from "./output.ts";

export interface Step {
  readonly name: string;
  /** As it could be typed. */
  readonly command: string;
  readonly seconds: number;
}

/** Prints through the demo's own output; what is a result is kept. */
class StepOutput extends Output {
  readonly #outer: Output;
  json_: unknown = undefined;
  text = "";

  constructor(outer: Output, signal: AbortSignal) {
    const nowhere = { write: () => true };
    super({ stdout: nowhere, stderr: nowhere }, { json: outer.json, quiet: outer.quiet }, signal);
    this.#outer = outer;
  }

  override get live(): boolean {
    return this.#outer.live;
  }

  override result(json: unknown, text: string): Promise<void> {
    this.json_ = json;
    this.text = text;
    return Promise.resolve();
  }

  override note(message: string, event?: string, fields?: Readonly<Record<string, unknown>>): void {
    // The device is opened once, and said once.
    if (event !== "adapter") this.#outer.note(message, event, fields);
  }

  override warn(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#outer.warn(message, fields);
  }

  override event(name: string, fields: Readonly<Record<string, unknown>>): void {
    this.#outer.event(name, fields);
  }

  override rewrite(text: string): void {
    this.#outer.rewrite(text);
  }
}

class StepContext extends Context {
  readonly #outer: Context;
  readonly #device: Device;

  constructor(command: Command, argv: readonly string[], out: Output, outer: Context, device: Device) {
    super(parseCommandLine(command, argv), out, outer.signal);
    this.#outer = outer;
    this.#device = device;
  }

  /** The demo's: started once, and as many as the demo's --workers. */
  override imagePool(images: number): ImagePool | undefined {
    return this.#outer.imagePool(images);
  }

  /** The demo's, which stays open: kernels are compiled once. */
  override openDevice(): Promise<Device> {
    const { adapter, gpu } = this.#device;
    this.keep(adapter, gpu);
    return Promise.resolve({ adapter, gpu, [Symbol.dispose]: () => undefined });
  }
}

export class Steps {
  readonly done: Step[] = [];
  readonly #context: Context;
  readonly #device: Device;

  constructor(context: Context, device: Device) {
    this.#context = context;
    this.#device = device;
  }

  /**
   * @param hidden arguments that the command that is shown does not need
   * @returns what the command would print with --json, as the caller says it is
   */
  async run<T>(command: Command, argv: readonly string[], hidden: readonly string[] = []): Promise<T> {
    const { out, signal } = this.#context;
    signal.throwIfAborted();
    const shown = showCommand([command.name, ...argv]);
    out.note(`\n$ ${shown}`, "step", { command: shown });
    const began = performance.now();
    const inner = new StepOutput(out, signal);
    const whole = [...argv, ...hidden, ...this.#given("batch"), ...this.#given("memory")];
    await command.run(new StepContext(command, whole, inner, this.#context, this.#device));
    signal.throwIfAborted();
    const seconds = (performance.now() - began) / 1000;
    this.done.push({ name: command.name, command: shown, seconds });
    out.note(`${lastLine(inner.text)} (${seconds.toFixed(1)} s)`, "done", { name: command.name, seconds });
    return inner.json_ as T;
  }

  /** An option of the demo that its steps are to have too. */
  #given(name: string): string[] {
    const value = this.#context.args.text(name);
    return value === undefined ? [] : [`--${name}`, value];
  }
}

/** Commands say at the end what came of it. */
const lastLine = (text: string): string => text.trimEnd().split("\n").at(-1) ?? "";
