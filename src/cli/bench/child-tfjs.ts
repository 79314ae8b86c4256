/** Loads tfjs with its WebGPU backend into this process, on the adapter that is measured. */
import { openAdapter } from "../../gpu/dawn/adapters.ts";
import type { Task } from "./engine.ts";
import { TFJS_CORE, TFJS_WEBGPU, type Tf } from "./tfjs-api.ts";

/**
 * tfjs asks a browser's `navigator.gpu` for its adapter, and looks flags and classes of WebGPU up as globals. Our own adapter
 * stands there: the one of our engine's kind, its Dawn polled as seldom as for us, which else would take a core from a
 * software adapter.
 */
export async function loadTfjs(adapter: Task["adapter"]): Promise<Tf> {
  const { globals } = await import("webgpu");
  Object.assign(globalThis, globals);
  const opened = await openAdapter({ name: adapter });
  const gpu = { requestAdapter: () => Promise.resolve(opened.adapter) };
  Object.defineProperty(globalThis, "navigator", { value: { gpu }, configurable: true });
  const tf = (await import(TFJS_CORE)) as Tf;
  await import(TFJS_WEBGPU);
  const { warn } = console;
  const said: unknown[] = []; // tfjs tells by warnings alone why a backend does not start
  console.warn = (...about: unknown[]) => said.push(...about);
  const started = await tf.setBackend("webgpu");
  console.warn = warn;
  if (!started)
    throw new Error(`tfjs' WebGPU backend does not start on ${opened.name}: ${said.map(String).join("; ")}`);
  return tf;
}
