/** Outputs of a command whose device has failed. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Arguments } from "../../src/cli/arguments.ts";
import { Context } from "../../src/cli/context.ts";
import { Output } from "../../src/cli/output.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import { openTestAdapter, testAdapters } from "../support/gpu.ts";
import { Kept, temporaryFolder } from "./support.ts";

describe.skipIf(testAdapters.length === 0)("after a device has failed", () => {
  const dir = temporaryFolder();
  const context = (): Context =>
    new Context(
      new Arguments([], new Map()),
      new Output({ stdout: new Kept(), stderr: new Kept() }, { json: false, quiet: false }),
      new AbortController().signal,
    );

  async function withDevice(use: (c: Context, gpu: Gpu) => void | Promise<void>): Promise<void> {
    const adapter = await openTestAdapter(testAdapters[0] ?? "");
    const gpu = await Gpu.open(adapter.adapter);
    const c = context();
    using device = c.keep(adapter, gpu);
    await use(c, device.gpu);
  }

  it("writes while the device is well", () =>
    withDevice((c) => {
      c.writeFile(join(dir, "well"), "x");
      expect(existsSync(join(dir, "well"))).toBe(true);
    }));

  it("writes nothing once the device is lost", () =>
    withDevice(async (c, gpu) => {
      gpu.device.destroy();
      await gpu.device.lost;
      await new Promise((resolve) => setTimeout(resolve, 0));
      expect(() => {
        c.writeFile(join(dir, "lost"), "x");
      }).toThrow(expect.objectContaining({ kind: "device", code: "DEVICE_LOST" }));
      expect(existsSync(join(dir, "lost"))).toBe(false);
    }));

  it("writes nothing after an error that no call reported", () =>
    withDevice(async (c, gpu) => {
      gpu.device.createBuffer({ size: 4, usage: 0x7fff }); // no such usage
      await gpu.device.queue.onSubmittedWorkDone();
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(() => {
        c.writeFile(join(dir, "faulty"), "x");
      }).toThrow(expect.objectContaining({ kind: "device", code: "GPU_ERROR" }));
      expect(existsSync(join(dir, "faulty"))).toBe(false);
    }));
});
