/** Kernels that compile when they first run are shared with further devices of the adapter; results do not depend on it. */
import { describe, expect, test } from "vitest";
import { Session } from "../../src/engine/session.ts";
import { Gpu, type Helpers } from "../../src/gpu/gpu.ts";
import { openTestAdapter, testAdapters } from "../support/gpu.ts";
import { randomTensor } from "../support/numbers.ts";
import { IMAGE, normalNumbers, residualNetwork } from "./network.ts";

const normal = normalNumbers(5, 0.3);
const network = residualNetwork(normal, normal, normal);
const inputs = new Map([["image", randomTensor([2, ...IMAGE], 1)]]);
/** Longer than what the engine takes for the time of a kernel that is compiled already. */
const SLOW_MS = 150;

/** A device whose first wait for its queue lasts `waits` ms; how often helpers were asked for, and how many kernels each ran. */
async function opened(name: string, waits: number, adapter?: Helpers["adapter"]) {
  const open = await openTestAdapter(name);
  let asked = 0;
  const ran: number[] = [];
  const errors: string[] = [];
  const helpers = {
    most: 2,
    adapter: async () => {
      asked++;
      const another = await (adapter ?? open.helpers.adapter)();
      if (another === undefined || another === null) return another;
      const requestDevice = another.requestDevice.bind(another);
      return Object.defineProperty(another, "requestDevice", {
        async value(descriptor?: GPUDeviceDescriptor): Promise<GPUDevice> {
          const device = await requestDevice(descriptor);
          watch(device, ran, errors);
          return device;
        },
      });
    },
  };
  const gpu = await Gpu.open(open.adapter, { helpers });
  const { queue } = gpu.device;
  const wait = queue.onSubmittedWorkDone.bind(queue);
  let first = true;
  Object.defineProperty(queue, "onSubmittedWorkDone", {
    value: async () => {
      const before = first ? waits : 0;
      first = false;
      await new Promise((resolve) => setTimeout(resolve, before));
      return wait();
    },
  });
  return {
    ...{ gpu, ran, errors, asked: () => asked },
    [Symbol.dispose]: () => {
      gpu[Symbol.dispose]();
      open.close();
    },
  };
}

/** How many bind groups its first submission came after, once the work is done without a validation error. */
function watch(device: GPUDevice, ran: number[], errors: string[]): void {
  const createBindGroup = device.createBindGroup.bind(device);
  const submit = device.queue.submit.bind(device.queue);
  let groups = 0;
  Object.defineProperty(device, "createBindGroup", {
    value: (descriptor: GPUBindGroupDescriptor) => {
      groups++;
      return createBindGroup(descriptor);
    },
  });
  Object.defineProperty(device.queue, "submit", {
    value: (buffers: GPUCommandBuffer[]) => {
      device.pushErrorScope("validation");
      submit(buffers);
      void device.popErrorScope().then((error) => (error === null ? ran.push(groups) : errors.push(error.message)));
    },
  });
}

async function logits(gpu: Gpu): Promise<Float32Array | undefined> {
  using session = new Session(gpu, network);
  const { data } = (await session.run(inputs, ["logits"])).get("logits") ?? {};
  return data instanceof Float32Array ? data : undefined;
}

describe.skipIf(testAdapters.length === 0).each([...testAdapters])("first runs on %s", (name) => {
  test("where compiling shows, as many helpers as there may be are opened, once for each kernel", async () => {
    using plain = await opened(name, 0);
    const expected = await logits(plain.gpu);
    expect(expected?.every(Number.isFinite)).toBe(true);
    using slow = await opened(name, SLOW_MS);
    expect(await logits(slow.gpu)).toEqual(expected);
    expect(slow.asked()).toBe(2);
    expect(slow.errors).toEqual([]);
    expect(slow.ran).toHaveLength(2);
    expect(Math.min(...slow.ran)).toBeGreaterThan(0);
    // All have run: another session compiles nothing.
    expect(await logits(slow.gpu)).toEqual(expected);
    expect(slow.asked()).toBe(2);
  });

  test("what fails on a helper is left to the device itself", async () => {
    using plain = await opened(name, 0);
    const expected = await logits(plain.gpu);
    for (const adapter of [() => Promise.reject(new Error("none left")), () => Promise.resolve(undefined)]) {
      using slow = await opened(name, SLOW_MS, adapter);
      expect(await logits(slow.gpu)).toEqual(expected);
      expect(slow.asked()).toBe(2);
    }
  });
});
