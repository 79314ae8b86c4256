/** Shared by the tests of src/cli: a command line run in this process, and a small network with images to run it on. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll } from "vitest";
import { main } from "../../src/cli/main.ts";
import type { TextStream } from "../../src/cli/output.ts";
import { png } from "../images/support.ts";
import { floats, modelBytes, node, noise, valueInfo, type ModelParts } from "../onnx/make.ts";
import { Random } from "../support/random.ts";

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A stream that keeps what is written. */
export class Kept implements TextStream {
  text = "";
  readonly isTTY: boolean;
  readonly columns = 80;

  constructor(isTTY = false) {
    this.isTTY = isTTY;
  }

  write(text: string, done?: (error?: Error | null) => void): boolean {
    this.text += text;
    done?.();
    return true;
  }
}

/** Runs `unbraid ARGV` in this process. */
export async function unbraid(...argv: string[]): Promise<Ran> {
  const [stdout, stderr] = [new Kept(), new Kept()];
  const code = await main(argv, { stdout, stderr });
  return { code, stdout: stdout.text, stderr: stderr.text };
}

/** The JSON document on stdout, as the caller says it is. */
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- a cast that callers can read
export const jsonOf = <T>(ran: Ran): T => JSON.parse(ran.stdout) as T;

export interface ErrorJson {
  readonly error: { readonly code: string; readonly message: string; readonly remedy: string };
}

/** Runs with --json and returns the error and the exit code. */
export async function errorOf(
  ...argv: string[]
): Promise<{ code: string; message: string; remedy: string; exit: number }> {
  const ran = await unbraid(...argv, "--json");
  const { error } = jsonOf<ErrorJson>(ran);
  return { ...error, exit: ran.code };
}

/** A folder that goes when the tests of the file are done. */
export function temporaryFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), "unbraid-cli-"));
  afterAll(() => {
    rmSync(dir, { recursive: true, force: true });
  });
  return dir;
}

export function write(path: string, content: Uint8Array | string): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  return path;
}

/** Side of the images, and how many classes they come in. */
export const SIDE = 8;
export const CLASSES = ["apple", "boat", "cat", "door"] as const;

/**
 * Conv 3x3 (3 to 8), Relu, Conv 1x1 (8 to 6), Relu, a depthwise Conv, mean over positions, Gemm: a classifier of 8x8
 * images, of any number of them at a time.
 */
export function classifierParts(seed = 1, batch: number | string = "n"): ModelParts {
  return {
    input: [valueInfo("image", [batch, 3, SIDE, SIDE])],
    output: [valueInfo("logits", [batch, CLASSES.length])],
    node: [
      node("Conv", ["image", "stem.weight"], ["a"], { pads: [1, 1, 1, 1] }, "/stem/Conv"),
      node("Relu", ["a"], ["b"], {}, "/relu"),
      node("Conv", ["b", "body.conv.weight", "body.conv.bias"], ["z"], {}, "/body/body.conv/Conv"),
      node("Relu", ["z"], ["c"], {}, "/body/relu"),
      node("Conv", ["c", "deep.weight"], ["d"], { group: 6, pads: [1, 1, 1, 1] }, "/deep/Conv"),
      node("GlobalAveragePool", ["d"], ["e"], {}, "/pool"),
      node("Flatten", ["e"], ["f"], {}, "/flatten"),
      node("Gemm", ["f", "head.weight", "head.bias"], ["logits"], { transB: 1 }, "/head"),
    ],
    initializer: [
      floats("stem.weight", [8, 3, 3, 3], noise(seed, 8 * 27)),
      floats("body.conv.weight", [6, 8, 1, 1], noise(seed + 1, 48)),
      floats("body.conv.bias", [6], noise(seed + 2, 6)),
      floats("deep.weight", [6, 1, 3, 3], noise(seed + 3, 54)),
      floats("head.weight", [CLASSES.length, 6], noise(seed + 4, 6 * CLASSES.length)),
      floats("head.bias", [CLASSES.length], noise(seed + 5, CLASSES.length)),
    ],
  };
}

export function writeClassifier(path: string, seed = 1, batch: number | string = "n"): string {
  return write(path, modelBytes(classifierParts(seed, batch)));
}

/** Images of one colour a class, with noise. @returns the folder */
export async function writeImages(dir: string, perClass: number, names: readonly string[] = CLASSES): Promise<string> {
  const random = new Random(5);
  for (const [t, name] of names.entries())
    for (let k = 0; k < perClass; k++) {
      const pixels = Uint8Array.from(
        { length: SIDE * SIDE * 3 },
        (_, i) => (i % 3 === t % 3 ? 130 : 20 * t) + random.below(100),
      );
      write(join(dir, name, `${k}.png`), await png(pixels, SIDE, SIDE));
    }
  return dir;
}
