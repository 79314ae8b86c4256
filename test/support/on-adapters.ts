/** Tests of kernels: the same cases on every software adapter that this machine has. */
import { afterAll, beforeAll, describe } from "vitest";
import { Gpu } from "../../src/gpu/gpu.ts";
import type { OpenAdapter } from "../../src/gpu/dawn/adapters.ts";
import { openTestAdapter, testAdapters } from "./gpu.ts";

/** `cases` registers tests; `gpu()` is there once they run. Skipped, and said so, where there is no adapter. */
export function onAdapters(title: string, cases: (gpu: () => Gpu) => void, adapters = testAdapters): void {
  describe.skipIf(adapters.length === 0).each([...adapters])(`${title} on %s`, (name) => {
    let adapter: OpenAdapter | undefined;
    let gpu: Gpu | undefined;
    beforeAll(async () => {
      adapter = await openTestAdapter(name);
      gpu = await Gpu.open(adapter.adapter, adapter);
    });
    afterAll(() => {
      gpu?.[Symbol.dispose]();
      adapter?.close();
    });
    cases(() => {
      if (gpu === undefined) throw new Error("the adapter is not open yet");
      return gpu;
    });
  });
}
