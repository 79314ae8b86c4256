/**
 * The process that holds a peer: each has one of its own, with its own event loop and Vulkan drivers, so that none disturbs
 * another's. Commands come as lines of JSON on stdin and are answered by marked lines on stdout; numbers go through files.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { must } from "../../errors.ts";
import { readModelFile } from "../../files.ts";
import { buildGraph } from "../../graph/build.ts";
import { onlyAdapter } from "./child-drivers.ts";
import { loadTfjs } from "./child-tfjs.ts";
import { MARK, type ChildFeed, type Command, type Job } from "./child.ts";
import { concatenated } from "./engine.ts";
import { channelsLast, tfjsNetwork } from "./tfjs.ts";

type Run = () => Promise<Float32Array>;
type Load = (feeds: readonly ChildFeed[]) => Run;

const answer = (value: unknown): void => {
  process.stdout.write(`\n${MARK}${JSON.stringify(value)}\n`);
};

function floats(path: string): Float32Array {
  const bytes = readFileSync(path);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

async function onnxruntime({ path, outputs, provider }: Job): Promise<Load> {
  const ort = await import("onnxruntime-node");
  const session = await ort.InferenceSession.create(path, { executionProviders: [provider], logSeverityLevel: 3 });
  return (feeds) => {
    const given = Object.fromEntries(feeds.map((f) => [f.name, new ort.Tensor("float32", floats(f.file), f.shape)]));
    return async () => {
      const got = await session.run(given, [...outputs]);
      return concatenated(
        outputs.map((name) => {
          const { data } = must(got[name], name);
          return data instanceof Float32Array ? data : Float32Array.from(data as ArrayLike<number>, Number);
        }),
      );
    };
  };
}

/** A module that exports build, compile, bind and run for one network, whose file the variable MODEL names. */
interface Prototype {
  build(batch: number): unknown;
  compile(): Promise<unknown>;
  bind(net: unknown): unknown;
  run(net: unknown, data: Float32Array): Promise<Float32Array>;
}

async function prototype({ path, batch, folder }: Job): Promise<Load> {
  const root = must(folder, "folder of the prototype");
  process.chdir(root);
  Object.assign(process.env, { MODEL: path, QUIET: "1" });
  const module = (await import(pathToFileURL(join(root, "net.mjs")).href)) as Prototype;
  const net = module.build(batch);
  await module.compile();
  module.bind(net);
  return ([feed]) => {
    const data = floats(must(feed, "input").file);
    return () => module.run(net, data);
  };
}

async function tfjs({ path, outputs, adapter, shapes }: Job): Promise<Load> {
  const known = new Map(must(shapes, "shapes for tfjs"));
  const network = tfjsNetwork(await loadTfjs(adapter), buildGraph(readModelFile(path)), known, outputs);
  return (feeds) => {
    const given = new Map(feeds.map(({ name, shape, file }) => [name, channelsLast(floats(file), shape)]));
    return async () => {
      const results = network(given);
      try {
        return concatenated(await Promise.all(results.map((result) => result.data())));
      } finally {
        for (const result of results) result.dispose();
      }
    };
  };
}

const loaderOf = ({ folder, shapes }: Job): ((job: Job) => Promise<Load>) =>
  shapes !== undefined ? tfjs : folder !== undefined ? prototype : onnxruntime;

async function serve(): Promise<void> {
  let run: Run | undefined;
  let load: Load | undefined;
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      const command = JSON.parse(line) as Command;
      if ("job" in command) {
        await onlyAdapter(command.job);
        load = await loaderOf(command.job)(command.job);
        answer({ ready: true });
        continue;
      }
      if (command.feeds !== undefined) run = must(load, "job")(command.feeds);
      const once = must(run, "feeds");
      let output: Float32Array = new Float32Array(0);
      const began = performance.now();
      for (let k = 0; k < command.run; k++) output = await once();
      const ms = (performance.now() - began) / command.run;
      writeFileSync(command.output, output);
      answer({ ms });
    } catch (error) {
      answer({ error: error instanceof Error ? error.message : String(error) });
    }
  }
}

await serve();
process.exit(0);
