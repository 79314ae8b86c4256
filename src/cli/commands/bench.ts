/** `unbraid bench`: how fast networks run here, beside other engines in alternating runs, and beside the adapter's limit. */
import { availableParallelism, cpus, loadavg } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { UnbraidError } from "../../errors.ts";
import { makeFolder } from "../../files.ts";
import { CeilingProbes } from "../bench/ceiling.ts";
import type { BenchDocument, NetworkResult } from "../bench/document.ts";
import type { Peer } from "../bench/engine.ts";
import { inverse } from "../bench/figures.ts";
import { benchNetwork, type NetworkOptions } from "../bench/network.ts";
import { allPeers } from "../bench/peers.ts";
import { roofline } from "../bench/roofline.ts";
import { asMarkdown, asText } from "../bench/tables.ts";
import { CHECK_FAILED, type Command } from "../command.ts";
import type { Context } from "../context.ts";
import { PREPROCESS_OPTIONS } from "../images.ts";
import { openModel } from "../model.ts";
import { PRECISION_OPTION, precisionOf } from "../precision.ts";

export const bench: Command = {
  name: "bench",
  summary: "how fast networks run here: beside other engines in alternating runs, and beside the adapter's limit",
  usage: ["bench [MODEL...] [--batch 1,8] [--rounds N] [--layers] [--gradient] [--out DIR]"],
  positionals: [0, Infinity],
  options: {
    rounds: { type: "string", value: "N", help: "alternating runs of every engine (7)" },
    layers: { type: "boolean", help: "GPU time of every layer; with --out a roofline too" },
    gradient: { type: "boolean", help: "also the gradient back to the input" },
    starts: { type: "string", value: "N", help: "cold and warm starts to first logits, so many of each (2)" },
    only: { type: "string", value: "PEER,...", help: "only these peers, as they are named in the results" },
    python: { type: "string", value: "PATH", help: "a Python that has torch (python3)" },
    prototype: {
      type: "string",
      value: "DIR",
      help: "an engine to beat: its net.mjs exports build, compile, bind, run",
    },
    crop: { ...PREPROCESS_OPTIONS.crop, help: "side of the images, where the model leaves it open (224)" },
    ...PRECISION_OPTION,
    out: { type: "string", value: "DIR", help: "writes bench.json, bench.md and rooflines into this folder" },
  },
  details:
    "MODEL is the network that ships with the package unless given; --batch takes several sizes (1). Peers are onnxruntime-node\n" +
    "on the processor and on WebGPU, PyTorch, tfjs on WebGPU, and a prototype: what is not installed is said to be absent. Nothing is\n" +
    `printed of outputs that no peer of this very run agrees with; exit code ${CHECK_FAILED} where one does not. Ratios are times of a peer\n` +
    "over ours, the medians of pairs, with their 95 % intervals (bootstrap over pairs).",
  example: "unbraid bench resnet50.onnx --batch 1,8 --layers --out bench-resnet50",
  run: (context) => runBench(context),
};

const DEMO = fileURLToPath(new URL("../../../models/demo.onnx", import.meta.url));
/** After each network that is timed. */
const PROBES = 2;

/** @param given peers to compare with; those of this machine unless a test gives others */
export async function runBench(context: Context, given?: readonly Peer[]): Promise<number> {
  const { args, out, signal } = context;
  const models = args.positionals.length > 0 ? args.positionals : [DEMO];
  const batches =
    args.texts("batch").length > 0 ? args.numbers("batch", { integer: true, least: 1, most: 65536 }) : [1];
  const rounds = args.number("rounds", { integer: true, least: 1, most: 10000 }) ?? 7;
  const starts = args.number("starts", { integer: true, least: 0, most: 100 }) ?? 2;
  const side = args.number("crop", { integer: true, least: 1 });
  const precision = precisionOf(args);
  const folder = args.text("out");
  if (folder !== undefined) context.checkFolder(folder, "bench.json");
  const peers = chosenPeers(
    context,
    given ?? allPeers({ python: args.text("python"), prototype: args.text("prototype") }),
  );
  const opened = models.map((path) => openModel(context, path, "as stored"));
  const before = loadavg()[0] ?? NaN;

  using device = await context.openDevice();
  const { name, kind, software } = device.adapter;
  const probes = new CeilingProbes(device.gpu, software);
  await probes.probe(1);
  const options = {
    peers,
    rounds,
    starts,
    side,
    precision,
    layers: args.flag("layers"),
    gradient: args.flag("gradient"),
  };
  const found: NetworkResult[] = [];
  for (const model of opened)
    for (const batch of batches) {
      signal.throwIfAborted();
      const adapter: NetworkOptions["adapter"] = { name, kind };
      const result = await benchNetwork(context, model, { ...options, batch, adapter });
      found.push(result);
      if (result.validated.length > 0) await probes.probe(PROBES);
    }
  device.gpu.check();
  const validated = found.some((n) => n.validated.length > 0);
  if (!validated && found.every((n) => n.refused.length === 0)) throw noPeer(found);

  const { ceiling } = probes;
  const document: BenchDocument = {
    adapter: { name, kind, software },
    date: new Date().toISOString(),
    machine: {
      ...{ processor: cpus()[0]?.model ?? "unknown", cpus: availableParallelism() },
      ...{ platform: `${process.platform}-${process.arch}`, node: process.version },
      ...{ load_before: before, load_after: loadavg()[0] ?? NaN },
    },
    precision: precision?.name ?? "f32",
    rounds,
    ceiling,
    networks: found.map((n) => withShares(n, ceiling)),
  };
  if (folder !== undefined) writeAll(context, folder, document);
  await out.result(document, asText(document));
  return found.some((n) => n.refused.length > 0) ? CHECK_FAILED : 0;
}

/** Shares of the ceiling, which is known when all probes are done: of the whole time, and of the GPU's alone. */
function withShares(result: NetworkResult, { gflops }: BenchDocument["ceiling"]): NetworkResult {
  const { ours_ms_an_image: wall, gpu_ms_an_image: busy } = result.measures;
  const least = result.operations_an_image / gflops.value / 1e6;
  const shares = {
    ...(wall === undefined ? {} : { share_of_ceiling: inverse(wall, least) }),
    ...(busy === undefined ? {} : { gpu_share_of_ceiling: inverse(busy, least) }),
  };
  return { ...result, measures: { ...result.measures, ...shares } };
}

function chosenPeers(context: Context, all: readonly Peer[]): readonly Peer[] {
  const wanted = context.args.text("only")?.split(",");
  if (wanted === undefined) return all;
  const unknown = wanted.find((name) => !all.some((peer) => peer.name === name));
  if (unknown !== undefined)
    throw new UnbraidError(
      "usage",
      "OPTION_VALUE",
      `--only names "${unknown}", which is no peer`,
      `Peers: ${all.map((peer) => peer.name).join(", ")}.`,
    );
  return all.filter((peer) => wanted.includes(peer.name));
}

function noPeer(found: readonly NetworkResult[]): UnbraidError {
  const why = new Set(found.flatMap((n) => n.absent.map((a) => `${a.peer} (${a.why})`)));
  return new UnbraidError(
    "unsupported",
    "BENCH_NO_PEER",
    `no engine is here to hold our outputs against: ${[...why].join("; ")}`,
    "Figures of outputs that nobody confirmed are not printed: npm install onnxruntime-node.",
  );
}

function writeAll(context: Context, folder: string, document: BenchDocument): void {
  makeFolder(folder);
  context.writeFile(join(folder, "bench.json"), `${JSON.stringify(document, undefined, 1)}\n`);
  context.writeFile(join(folder, "bench.md"), asMarkdown(document));
  for (const { network, batch, layers } of document.networks) {
    if (layers === undefined) continue;
    const title = `${network}, batch ${batch}, on ${document.adapter.name}`;
    context.writeFile(join(folder, `roofline-${network}-${batch}.svg`), roofline(title, layers, document.ceiling));
  }
}
