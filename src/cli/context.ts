/** What a command is given: its arguments, where to print, the signal to stop, and the machine's devices and files. */
import { accessSync, constants, statSync, type Stats } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join, resolve } from "node:path";
import { attachTuner } from "../engine/tuners.ts";
import { UnbraidError } from "../errors.ts";
import { unwritable, writeFileAtomic } from "../files.ts";
import { openAdapter, type OpenAdapter } from "../gpu/dawn/adapters.ts";
import { Gpu } from "../gpu/gpu.ts";
import { ImagePool, POOL_THREADS, usualThreads } from "../images/image-pool.ts";
import type { Arguments } from "./arguments.ts";
import type { Output } from "./output.ts";
import { openTuner, tuneMode, type TuneMode } from "./tuning.ts";

/** An adapter with its device. */
export interface Device extends Disposable {
  readonly adapter: OpenAdapter;
  readonly gpu: Gpu;
}

export class Context implements Disposable {
  readonly args: Arguments;
  readonly out: Output;
  /** Aborted by ctrl-C with an UnbraidError. */
  readonly signal: AbortSignal;
  readonly #tune: TuneMode;
  /** Of --workers. */
  readonly #workers: number | undefined;
  readonly #gpus = new Set<Gpu>();
  /** Files that the command has said it will write. */
  readonly #written = new Set<string>();
  #pool: ImagePool | undefined;
  /** Images that `imagePool` was asked for. */
  #images = 0;

  /** @throws UnbraidError OPTION_VALUE for a --tune, --workers or --memory that there is not */
  constructor(args: Arguments, out: Output, signal: AbortSignal) {
    this.args = args;
    this.#tune = tuneMode(args);
    this.out = out;
    this.signal = signal;
    this.#workers = args.number("workers", { integer: true, least: 0, most: POOL_THREADS });
    this.memory();
  }

  /**
   * Opens the adapter of --adapter, or the best, and says which.
   * @throws UnbraidError kind "adapter"
   */
  async openDevice(name = this.args.text("adapter")): Promise<Device> {
    const adapter = await openAdapter({ name });
    try {
      const gpu = await Gpu.open(adapter.adapter, adapter);
      const how = adapter.software ? ` (${adapter.kind}, a software adapter: it runs on the processor)` : "";
      this.out.note(`adapter: ${adapter.name}${how}`, "adapter", {
        name: adapter.name,
        kind: adapter.kind,
        software: adapter.software,
      });
      return this.keep(adapter, gpu);
    } catch (error) {
      adapter.close();
      throw error;
    }
  }

  /** Has plans on `gpu` tuned as --tune says, and makes `writeFile` refuse once it has failed. */
  keep(adapter: OpenAdapter, gpu: Gpu): Device {
    if (this.#tune !== "off") attachTuner(gpu, openTuner(adapter, gpu, this.#tune, this.out, this.signal));
    this.#gpus.add(gpu);
    return {
      adapter,
      gpu,
      [Symbol.dispose]: () => {
        this.#gpus.delete(gpu);
        gpu[Symbol.dispose]();
        adapter.close();
      },
    };
  }

  /** The --batch option, or `fallback`. */
  batch(fallback: number): number {
    return this.args.number("batch", { integer: true, least: 1, most: 65536 }) ?? fallback;
  }

  /**
   * Bytes of GPU memory that a batch may take where nobody says how large it is: --memory, or half of what small graphics
   * cards have. WebGPU tells nobody how much is free. @throws UnbraidError OPTION_VALUE
   */
  memory(): number {
    return 2 ** 20 * (this.args.number("memory", { least: 1, most: 2 ** 20 }) ?? 2048);
  }

  /**
   * Threads that decode: as many as --workers says, or as all the images that the command has asked for are worth. One pool
   * serves the whole command, which may come back for images class by class.
   * @param images so many more
   * @returns nothing where the main thread is to decode
   */
  imagePool(images: number): ImagePool | undefined {
    this.#images += images;
    const threads = Math.min(this.#workers ?? usualThreads(availableParallelism(), this.#images), this.#images);
    if (threads === 0) return undefined;
    this.#pool ??= new ImagePool(threads, this.signal);
    this.#pool.grow(threads);
    return this.#pool;
  }

  /** Ends the threads; devices are closed by those who opened them. */
  [Symbol.dispose](): void {
    this.#pool?.[Symbol.dispose]();
  }

  /**
   * Writes a file, whole or not at all, and never after a device has failed: what was computed may be zeros then.
   * @throws UnbraidError kind "output" or "device"
   */
  writeFile(path: string, data: string | Uint8Array | Iterable<Uint8Array>): void {
    for (const gpu of this.#gpus) gpu.check();
    writeFileAtomic(path, data);
  }

  /**
   * Finds out before long work that its output could not be written, or would replace what the command reads.
   * @throws UnbraidError OUTPUT_UNWRITABLE, OUTPUT_IS_INPUT, OUTPUT_TWICE
   */
  checkWritable(path: string): void {
    const refuse = (why: string, cause?: unknown): UnbraidError => unwritable(path, why, { cause });
    const there = status(path);
    this.#checkDistinct(path, there);
    if (there?.isDirectory() === true) throw refuse("it is a folder");
    const folder = dirname(resolve(path));
    const parent = status(folder);
    if (parent === undefined) throw refuse(`there is no folder ${folder}`);
    if (!parent.isDirectory()) throw refuse(`${folder} is not a folder`);
    try {
      accessSync(there !== undefined && !there.isFile() ? path : folder, constants.W_OK);
    } catch (cause) {
      throw refuse("permission is denied", cause);
    }
  }

  /**
   * As `checkWritable`, of a folder that is made when there is something to write into it: none is left where nothing is.
   * @param file that will be written into it
   * @param hint where a file has that name
   * @throws UnbraidError as `checkWritable`
   */
  checkFolder(folder: string, file: string, hint?: string): void {
    if (status(folder)?.isDirectory() === true) {
      this.checkWritable(join(folder, file));
      return;
    }
    // Nothing is made to find out. As the path is written: `..` after a link is another place than it looks.
    let above = folder;
    while (status(above) === undefined && dirname(above) !== above) above = dirname(above);
    if (status(above)?.isDirectory() !== true) {
      throw unwritable(folder, `${above} is not a folder${hint === undefined ? "" : `, and ${hint}`}`);
    }
    try {
      accessSync(above, constants.W_OK);
    } catch (cause) {
      throw unwritable(folder, "permission is denied", { cause });
    }
  }

  #checkDistinct(path: string, there: Stats | undefined): void {
    const input = this.args.inputs().find((other) => other !== "" && same(there, status(other)));
    if (input !== undefined) {
      throw new UnbraidError(
        "output",
        "OUTPUT_IS_INPUT",
        `${path} is ${input === path ? "" : `${input}, `}an input of this command, which writing would destroy`,
        "Choose another file to write.",
      );
    }
    if (this.#written.has(resolve(path)) && (there === undefined || there.isFile())) {
      throw new UnbraidError(
        "usage",
        "OUTPUT_TWICE",
        `${path} is to be written twice`,
        "Give each output its own file.",
      );
    }
    this.#written.add(resolve(path));
  }
}

/** One file under two names, links included; devices are written as often as one likes. */
const same = (a: Stats | undefined, b: Stats | undefined): boolean =>
  a?.isFile() === true && a.dev === b?.dev && a.ino === b.ino;

/** undefined where nothing is there, be it that a part of the path is a file. */
function status(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}
