/** The binding's polls are spaced out, and nobody else's setImmediate is touched. */
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { pollCount, pollDelay, throttlePolls } from "../../src/gpu/dawn/throttle.ts";
import { openTestAdapter, testAdapters } from "../support/gpu.ts";

test("delays: none at first, then at least the 1 ms of Node's timers, 2 % of the wait, 4 ms at the most", () => {
  expect([0, 0.29].map((waited) => pollDelay(waited))).toEqual([0, 0]);
  expect([0.31, 5, 99].map((waited) => pollDelay(waited))).toEqual([1, 1, 1]);
  expect([100, 199, 1e5].map((waited) => pollDelay(waited))).toEqual([2, 3, 4]);
});

test("delays where waits last 200 ms: rare until 170, never beyond that, 1 ms until 240, then as ever", () => {
  const delay = (waited: number): number => pollDelay(waited, 200);
  expect(delay(0.1)).toBe(0);
  expect([1, 100, 160].map(delay)).toEqual([12, 12, 10]);
  expect([165, 168, 169.5, 171, 239].map(delay)).toEqual([5, 2, 1, 1, 1]);
  expect([241, 1000].map(delay)).toEqual([4, 4]);
  expect(pollDelay(10, 5000)).toBe(16);
  expect(pollDelay(10, 12)).toBe(1);
});

describe("setImmediate while a throttle is held", () => {
  test("passes arguments, keeps order, is cleared and promisified as ever, and comes back afterwards", async () => {
    const before = globalThis.setImmediate;
    const outer = throttlePolls();
    const inner = throttlePolls();
    expect(globalThis.setImmediate).not.toBe(before);
    const calls: unknown[] = [];
    setImmediate((...args: unknown[]) => calls.push(args), 1, "two");
    clearImmediate(setImmediate(() => calls.push("cleared")));
    setImmediate(() => calls.push("last"));
    expect(await promisify(setImmediate)("value")).toBe("value");
    expect(calls).toEqual([[1, "two"], "last"]);
    expect(pollCount()).toBe(0);
    inner[Symbol.dispose]();
    inner[Symbol.dispose]();
    expect(globalThis.setImmediate).not.toBe(before); // disposed of twice, but held once more
    outer[Symbol.dispose]();
    expect(globalThis.setImmediate).toBe(before);
  });

  test("a wrapper that somebody else puts around it stays", () => {
    const before = globalThis.setImmediate;
    const throttle = throttlePolls();
    const ours = globalThis.setImmediate;
    const theirs = ((...args: Parameters<typeof setImmediate>) => ours(...args)) as typeof setImmediate;
    globalThis.setImmediate = theirs;
    throttle[Symbol.dispose]();
    expect(globalThis.setImmediate).toBe(theirs);
    globalThis.setImmediate = ours;
    throttlePolls()[Symbol.dispose]();
    expect(globalThis.setImmediate).toBe(before);
  });
});

describe.skipIf(testAdapters.length === 0).each(testAdapters)("waiting on %s", (name) => {
  test("polls some hundreds of times a second, not tens of thousands", async () => {
    using open = await openTestAdapter(name);
    const device = await open.adapter.requestDevice();
    const turns = open.kind === "lavapipe" ? 400_000 : 40_000;
    const module = device.createShaderModule({
      code: `@group(0) @binding(0) var<storage, read_write> c: array<f32>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
          var x = c[id.x];
          for (var i = 0u; i < ${turns}u; i++) { x = x * 1.0001 + 0.1; }
          c[id.x] = x;
        }`,
    });
    const pipeline = device.createComputePipeline({ layout: "auto", compute: { module } });
    const buffer = device.createBuffer({ size: 64 * 64 * 4, usage: 128 });
    const layout = pipeline.getBindGroupLayout(0);
    const group = device.createBindGroup({ layout, entries: [{ binding: 0, resource: { buffer } }] });
    const work = async (): Promise<void> => {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(64);
      pass.end();
      device.queue.submit([encoder.finish()]);
      await device.queue.onSubmittedWorkDone();
    };
    await work(); // compiles
    const polls = pollCount();
    const began = performance.now();
    await work();
    const ms = performance.now() - began;
    // Eager polls take 0.3 ms, and each is at least a turn of the event loop (above 3 microseconds): 100 of them; then one a
    // millisecond at the most. Without a throttle there are 15 a millisecond and more, even on a crowded machine.
    expect(ms).toBeGreaterThan(50);
    expect(pollCount() - polls).toBeGreaterThan(0); // Dawn still polls through what we recognise
    expect(pollCount() - polls).toBeLessThan(100 + ms);
  });
});
