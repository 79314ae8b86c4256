/** `unbraid doctor`: what this machine can compute with, how fast, and what would help. */
import { EXIT_CODES, UnbraidError } from "../../errors.ts";
import { listAdapters, type AdapterKind, type AdapterReport } from "../../gpu/dawn/adapters.ts";
import { matches } from "../../gpu/dawn/search.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { measureSpeed, type Speed } from "../probe.ts";
import { showBytes, table } from "../table.ts";

type Usable = Extract<AdapterReport, { usable: true }>;
type Measured = Usable & { readonly speed: Speed | undefined; readonly problem?: string };

export const doctor: Command = {
  name: "doctor",
  summary: "which adapters are there, how fast they are, and what to install",
  usage: ["doctor [--adapter NAME] [--json]"],
  positionals: [0, 0],
  options: {},
  details:
    "Measures each adapter for about two seconds: multiplications and additions a second, and bytes copied a second.\n" +
    `Exit code ${EXIT_CODES.adapter} where no adapter can be used.`,
  example: "unbraid doctor --json",
  run,
};

async function run(context: Context): Promise<number> {
  const { args, out, signal } = context;
  const wanted = args.text("adapter");
  const { reports, missing } = await look();
  const measured: Measured[] = [];
  for (const report of reports) {
    signal.throwIfAborted();
    if (report.usable) measured.push(await measure(context, report));
  }
  const working = measured.filter((m) => m.speed !== undefined);
  const chosen = working.find(
    (m) => wanted === undefined || matches({ ...m, description: m.driver.description }, wanted),
  );
  const unusable = [
    ...reports.flatMap((r) => (r.usable ? [] : [{ name: r.name, problem: r.problem }])),
    ...measured.flatMap((m) => (m.speed === undefined ? [{ name: m.name, problem: m.problem ?? "" }] : [])),
  ];
  const advice = missing ?? adviceFor(chosen?.kind, wanted);
  const json = {
    adapters: working.map(({ name, kind, software, features, limits, driver, speed }) => ({
      name,
      kind,
      software,
      features,
      limits,
      driver,
      ...speed,
    })),
    chosen: chosen?.name ?? null,
    advice,
    unusable,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
  };
  await out.result(json, describe(working, chosen, unusable, advice));
  return chosen === undefined ? EXIT_CODES.adapter : 0;
}

/** @returns `missing` where not even the webgpu package can be loaded: that is a finding, not a failure of doctor */
async function look(): Promise<{ reports: AdapterReport[]; missing?: string }> {
  try {
    return { reports: await listAdapters() };
  } catch (error) {
    if (!(error instanceof UnbraidError) || error.kind !== "adapter") throw error;
    return { reports: [{ usable: false, name: "webgpu", problem: error.message }], missing: error.remedy };
  }
}

async function measure(context: Context, report: Usable): Promise<Measured> {
  try {
    using device = await context.openDevice(report.name);
    return { ...report, speed: await measureSpeed(device.gpu, report.software) };
  } catch (error) {
    if (!(error instanceof UnbraidError)) throw error;
    return { ...report, speed: undefined, problem: error.message };
  }
}

const LAVAPIPE =
  "Mesa's software driver (lavapipe, Mesa 25; on Debian 12 `apt install -t bookworm-backports mesa-vulkan-drivers`)";

function adviceFor(kind: AdapterKind | undefined, wanted: string | undefined): string {
  switch (kind) {
    case undefined:
      return wanted === undefined
        ? `No adapter can be used. Install your GPU's Vulkan driver, or ${LAVAPIPE}, or, without root, \`npm install @sparticuz/chromium@141.0.0\` (SwiftShader; Linux on x64).`
        : `No adapter matches "${wanted}": give one of the names or kinds above.`;
    case "hardware":
      return "";
    case "lavapipe":
      return "Only a software adapter is there. If this machine has a GPU, install its Vulkan driver: networks run ten to a hundred times faster on it.";
    case "swiftshader":
    case "software":
      return `Only a slow software adapter is there. If this machine has a GPU, install its Vulkan driver; if not, ${LAVAPIPE} is about five times faster.`;
  }
}

function describe(
  working: readonly Measured[],
  chosen: Measured | undefined,
  unusable: readonly { name: string; problem: string }[],
  advice: string,
): string {
  const rows = working.map((m) => [
    m === chosen ? "*" : "",
    m.name,
    m.kind,
    (m.speed?.gflops ?? 0).toFixed(1),
    (m.speed?.gbytes_per_second ?? 0).toFixed(1),
    showBytes(m.limits.maxStorageBufferBindingSize ?? 0),
    m.features.filter((f) => ["subgroups", "shader-f16", "timestamp-query"].includes(f)).join(" "),
  ]);
  return [
    working.length === 0 ? "" : table(["", "adapter", "kind", "GFLOP/s", "GB/s", "largest tensor", "features"], rows),
    ...unusable.map(({ name, problem }) => `not usable: ${name}: ${problem}\n`),
    chosen === undefined ? "" : `commands use: ${chosen.name}\n`,
    advice === "" ? "" : `${advice}\n`,
  ].join("");
}
