/** --tune: which tiles were measured fastest, kept in the user's cache folder by adapter, driver and code (docs/formats.md). */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { cpus } from "node:os";
import { dirname, join } from "node:path";
import { tunedCode, Tuner } from "../engine/tuner.ts";
import { UnbraidError } from "../errors.ts";
import { writeFileAtomic } from "../files.ts";
import type { OpenAdapter } from "../gpu/dawn/adapters.ts";
import { userCacheFolder } from "../gpu/dawn/swiftshader.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { TileTable, type TileRecord } from "../kernels/tile-table.ts";
import { usageError, type Arguments } from "./arguments.ts";
import type { Output } from "./output.ts";

const MODES = ["off", "once", "full"] as const;
export type TuneMode = (typeof MODES)[number];

/** @throws UnbraidError OPTION_VALUE */
export function tuneMode(args: Pick<Arguments, "text">): TuneMode {
  const text = args.text("tune") ?? "off";
  const mode = MODES.find((m) => m === text);
  if (mode === undefined)
    throw usageError("OPTION_VALUE", `--tune must be ${MODES.join(", ")}, not "${text}"`, "Correct --tune.");
  return mode;
}

/** All that measurements depend on. */
export interface TuningKey {
  readonly adapter: string;
  readonly driver: string;
  readonly subgroups: number;
  readonly workgroupBytes: number;
  /** What a software adapter runs on. */
  readonly processor: string;
  /** SHA-256 of the shaders that are chosen among. */
  readonly code: string;
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** @param code the shaders that are chosen among */
export function tuningKey(
  { name, driver, software }: Pick<OpenAdapter, "name" | "driver" | "software">,
  { subgroups, workgroupBytes }: Pick<Gpu, "subgroups" | "workgroupBytes">,
  code = tunedCode(subgroups),
): TuningKey {
  const { vendor, architecture, device, description } = driver;
  const all = cpus();
  return {
    adapter: name,
    driver: [vendor, architecture, device, description].join("; "),
    ...{ subgroups, workgroupBytes },
    processor: software ? `${all.length} x ${all[0]?.model ?? "unknown"}` : "",
    code: sha256(code),
  };
}

const FORMAT = "unbraid tuning 1";

export const tuningFile = (key: TuningKey, folder = userCacheFolder()): string =>
  join(folder, `tuning-${sha256(JSON.stringify(key)).slice(0, 16)}.json`);

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isRecord = (value: unknown): value is TileRecord =>
  isObject(value) &&
  Object.values(value).every((tiles) => isObject(tiles) && Object.values(tiles).every((t) => typeof t === "string"));

/** What the file holds; nothing where it is not there, cannot be read, is damaged, or is of another key. */
export function readTuning(path: string, key: TuningKey): TileRecord {
  try {
    const file: unknown = JSON.parse(readFileSync(path, "utf8"));
    const mine = isObject(file) && file.format === FORMAT && JSON.stringify(file.key) === JSON.stringify(key);
    return mine && isRecord(file.layers) ? file.layers : {};
  } catch {
    return {};
  }
}

/** Adds to what is in the file by now, layer by layer. @throws UnbraidError kind "output"; Error of the file system */
export function writeTuning(path: string, key: TuningKey, record: TileRecord): void {
  mkdirSync(dirname(path), { recursive: true });
  const layers = { ...readTuning(path, key), ...record };
  writeFileAtomic(path, `${JSON.stringify({ format: FORMAT, key, layers }, undefined, 1)}\n`);
}

/** A tuner that keeps what it measures. */
export function openTuner(
  adapter: OpenAdapter,
  gpu: Gpu,
  mode: Exclude<TuneMode, "off">,
  out: Output,
  signal: AbortSignal,
): Tuner {
  const key = tuningKey(adapter, gpu);
  const path = tuningFile(key);
  return new Tuner(gpu, {
    candidates: mode === "full" ? "all" : "few",
    table: TileTable.from(mode === "full" ? {} : readTuning(path, key), gpu.subgroups),
    signal,
    begin: (products) => {
      out.note(`tuning: ${products} convolution${products === 1 ? "" : "s"} to measure`, "tuning", { products });
    },
    end: (table) => {
      try {
        writeTuning(path, key, table.record());
      } catch (error) {
        const why = error instanceof UnbraidError ? error.message : String(error);
        out.note(`what was measured is not kept: ${why}`, "tuning");
      }
    },
  });
}
