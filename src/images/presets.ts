/**
 * Where a preprocessing comes from: a preset, a JSON beside the model, options of the command line, in that order, each
 * over the one before.
 *
 * The JSON is one object; every field may be left out:
 *
 *     {
 *       "preset":   "imagenet",             what the other fields change; "none" unless given
 *       "resize":   256,                    shorter side in pixels, a whole number of at least 1
 *       "crop":     224,                    side of the centre square in pixels, a whole number of at least 1
 *       "mean":     [0.485, 0.456, 0.406],  of channel values in 0..1, three finite numbers
 *       "std":      [0.229, 0.224, 0.225],  three finite numbers above 0
 *       "channels": "rgb"                   or "bgr": the order that the network wants, and that of mean and std
 *     }
 */
import { UnbraidError } from "../errors.ts";
import { MAX_PIXELS } from "./preprocess.ts";
import type { PreprocessSpec, Triple } from "./preprocess.ts";

const IMAGENET = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } as const;

export const PRESETS = {
  /** Values in 0..1 as they are, no resize, no crop. */
  none: { mean: [0, 0, 0], std: [1, 1, 1] },
  /** torchvision's evaluation transform for its first ImageNet weights. */
  imagenet: { resize: 256, crop: 224, ...IMAGENET },
  /** 32 x 32 images with ImageNet's statistics, as the widespread CIFAR-10 ResNets (Idelbayev) were trained. */
  cifar10: IMAGENET,
  /** 32 x 32 images with CIFAR-100's own statistics. */
  cifar100: { mean: [0.5071, 0.4865, 0.4409], std: [0.2673, 0.2564, 0.2762] },
} as const satisfies Record<string, PreprocessSpec>;

export type PresetName = keyof typeof PRESETS;

/** What the command line can say: each field is one option. */
export interface PreprocessOptions {
  readonly preset?: string;
  readonly resize?: number;
  readonly crop?: number;
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
  readonly channels?: string;
}

const FIELDS = ["preset", "resize", "crop", "mean", "std", "channels"] as const;

const SCHEMA_HELP =
  "Fields: preset, resize, crop (whole numbers of pixels), mean, std (three numbers on values in 0..1), channels (rgb or bgr).";

function invalid(where: string, field: string, problem: string): UnbraidError {
  return new UnbraidError("input", "PREPROCESS_INVALID", `${where}: ${field}: ${problem}`, SCHEMA_HELP);
}

/** JSON has no NaN or infinity; messages should. */
const show = (value: unknown): string => (typeof value === "number" ? String(value) : JSON.stringify(value));

function preset(value: unknown, where: string): PreprocessSpec {
  const found = typeof value === "string" && Object.hasOwn(PRESETS, value) ? PRESETS[value as PresetName] : undefined;
  if (found !== undefined) return found;
  throw invalid(where, "preset", `${show(value)} is none of ${Object.keys(PRESETS).join(", ")}`);
}

function side(value: unknown, where: string, field: string): number {
  const longest = Math.floor(Math.sqrt(MAX_PIXELS));
  if (typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= longest) return value;
  throw invalid(where, field, `${show(value)} is not a whole number of pixels from 1 to ${longest}`);
}

function triple(value: unknown, where: string, field: string, positive: boolean): Triple {
  const kind = positive ? "three finite numbers above 0" : "three finite numbers";
  if (!Array.isArray(value)) throw invalid(where, field, `${show(value)} is not ${kind}`);
  const [a, b, c, ...rest] = value as unknown[];
  // In float32, as they are used: a number too large or too small for it is an error, not an infinity.
  const usable = (v: unknown): v is number =>
    typeof v === "number" && Number.isFinite(Math.fround(v)) && (!positive || Math.fround(v) > 0);
  if (usable(a) && usable(b) && usable(c) && rest.length === 0) return [a, b, c];
  throw invalid(where, field, `${show(value)} is not ${kind}`);
}

function channelOrder(value: unknown, where: string): "rgb" | "bgr" {
  if (value === "rgb" || value === "bgr") return value;
  throw invalid(where, "channels", `${show(value)} is neither "rgb" nor "bgr"`);
}

/** `fields` checked, over `base`, or over the preset that they name. */
function over(base: PreprocessSpec, fields: Readonly<Record<string, unknown>>, where: string): PreprocessSpec {
  const { preset: named, resize, crop, mean, std, channels } = fields;
  return {
    ...(named === undefined ? base : preset(named, where)),
    ...(resize === undefined ? {} : { resize: side(resize, where, "resize") }),
    ...(crop === undefined ? {} : { crop: side(crop, where, "crop") }),
    ...(mean === undefined ? {} : { mean: triple(mean, where, "mean", false) }),
    ...(std === undefined ? {} : { std: triple(std, where, "std", true) }),
    ...(channels === undefined ? {} : { channels: channelOrder(channels, where) }),
  };
}

/**
 * A preprocessing from the text of a JSON file (schema above).
 *
 * @param path of the file, for messages
 * @throws UnbraidError PREPROCESS_INVALID with path and field: not JSON, an unknown field, a value out of its range
 */
export function parsePreprocess(text: string, path: string): PreprocessSpec {
  let value: unknown;
  try {
    value = JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    throw new UnbraidError(
      "input",
      "PREPROCESS_INVALID",
      `${path} is not JSON: ${error instanceof Error ? error.message : String(error)}`,
      SCHEMA_HELP,
      { cause: error },
    );
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UnbraidError("input", "PREPROCESS_INVALID", `${path} holds no JSON object`, SCHEMA_HELP);
  }
  const fields = value as Readonly<Record<string, unknown>>;
  // A misspelt field would otherwise be a silently wrong preprocessing.
  const unknown = Object.keys(fields).find((field) => !(FIELDS as readonly string[]).includes(field));
  if (unknown !== undefined) throw invalid(path, unknown, "no such field");
  return over(PRESETS.none, fields, path);
}

/**
 * The preprocessing to use: options over the file beside the model; a `preset` among the options replaces that file.
 * With neither, {@link PRESETS}`.none`: values in 0..1.
 *
 * @throws UnbraidError PREPROCESS_INVALID naming the option
 */
export function mergePreprocess(options: PreprocessOptions, fromFile?: PreprocessSpec): PreprocessSpec {
  return over(fromFile ?? PRESETS.none, { ...options }, "options");
}

/**
 * Three numbers as the command line gives them: `0.485,0.456,0.406`.
 *
 * @throws UnbraidError PREPROCESS_INVALID
 */
export function parseTriple(text: string, option: string): number[] {
  const numbers = text.split(",").map((part) => (part.trim() === "" ? NaN : Number(part)));
  if (numbers.length === 3 && numbers.every(Number.isFinite)) return numbers;
  throw invalid("options", option, `"${text}" is not three numbers with commas between`);
}
