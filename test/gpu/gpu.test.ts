/** The device as the rest of the house sees it: memory counted, results copied, errors with codes. */
import { expect, test } from "vitest";
import { UnbraidError } from "../../src/errors.ts";
import { Gpu, USAGE } from "../../src/gpu/gpu.ts";
import type { ShaderName } from "../../src/shaders.generated.ts";
import { openTestAdapter, testAdapters } from "../support/gpu.ts";
import { onAdapters } from "../support/on-adapters.ts";

const refused = async (work: Promise<unknown>): Promise<UnbraidError> => {
  const outcome = await work.then(
    () => new Error("it was not refused"),
    (e: unknown) => e,
  );
  if (outcome instanceof UnbraidError) return outcome;
  throw outcome;
};

onAdapters("the device", (gpu) => {
  const storage = USAGE.storage | USAGE.copyDst | USAGE.copySrc;

  test("counts the bytes of its buffers", () => {
    const before = gpu().allocatedBytes;
    const [a, b] = [gpu().buffer(5, storage, "a"), gpu().buffer(100, storage, "b")];
    expect(gpu().allocatedBytes - before).toBe(16 + 112);
    expect(gpu().peakBytes).toBeGreaterThanOrEqual(gpu().allocatedBytes);
    gpu().release(a);
    gpu().release(b);
    expect(gpu().allocatedBytes).toBe(before);
    expect(gpu().peakBytes).toBeGreaterThanOrEqual(before + 128);
  });

  test("reads several buffers back at once, each as long as asked", async () => {
    const contents = [Float32Array.of(1, 2, 3), Float32Array.of(4), Float32Array.from({ length: 33 }, (_, i) => i)];
    const buffers = contents.map((data, i) => {
      const buffer = gpu().buffer(data.byteLength, storage, `buffer ${i}`);
      gpu().device.queue.writeBuffer(buffer, 0, data);
      return buffer;
    });
    const lengths = [2, 1, 33];
    const got = await gpu().read(buffers.map((buffer, i) => ({ buffer, bytes: 4 * (lengths[i] ?? 0) })));
    got.forEach((bytes, i) => {
      expect(new Float32Array(bytes)).toEqual(contents[i]?.slice(0, lengths[i]));
    });
    expect(await gpu().read([])).toEqual([]);
    buffers.forEach((b) => {
      gpu().release(b);
    });
  });

  test("compiles a pipeline once, one for each set of constants", async () => {
    const key = { shader: "conv_direct", constants: { TRANSPOSED: 0 } } as const;
    const [one, same, other] = await Promise.all([
      gpu().pipeline(key),
      gpu().pipeline({ ...key }),
      gpu().pipeline({ ...key, constants: { TRANSPOSED: 1 } }),
    ]);
    expect(same).toBe(one);
    expect(other).not.toBe(one);
  });

  test("a pipeline that the adapter refuses is an error with the reason, and the device lives on", async () => {
    const shader: ShaderName = "conv_direct";
    const unknown = await refused(gpu().pipeline({ shader, constants: { NOWHERE: 1 } }));
    expect(unknown).toMatchObject({ kind: "device", code: "SHADER_REFUSED" });
    expect(unknown.message).toMatch(/NOWHERE/);
    expect((await refused(gpu().pipeline({ shader, entry: "nowhere" }))).code).toBe("SHADER_REFUSED");
    expect(() => {
      gpu().check();
    }).not.toThrow();
    await gpu().pipeline({ shader });
  });

  test("the message of a shader that is refused names it and shows what is wrong in it", async () => {
    const before = Array.from({ length: 20 }, (_, k) => `const filler${k} = ${k};`).join("");
    const code = `${before}@compute @workgroup_size(1) fn main() { let wrong = nowhere; }`;
    const { code: refusal, message } = await refused(gpu().pipeline({ shader: { name: "faulty", code } }));
    expect(refusal).toBe("SHADER_REFUSED");
    expect(message).toMatch(/faulty\.wgsl: .*nowhere.*, in: [^]{0,70}let wrong = nowhere; }$/m);
  });

  test("errors inside a scope are that work's own, whichever runs beside it", async () => {
    const wrong = () => gpu().device.createBuffer({ size: 16, usage: USAGE.mapRead | USAGE.storage });
    const results = await Promise.allSettled([
      gpu().scoped("first", () => 1),
      gpu().scoped("second", wrong),
      gpu().scoped("third", () => 3),
      gpu().scoped("fourth", () => {
        throw new Error("own");
      }),
    ]);
    expect(results.map((r) => r.status)).toEqual(["fulfilled", "rejected", "fulfilled", "rejected"]);
    const [, second, , fourth] = results.map((r) => (r.status === "rejected" ? (r.reason as unknown) : undefined));
    expect(second).toMatchObject({ code: "GPU_ERROR" });
    expect(String(second)).toContain("second");
    expect(String(fourth)).toContain("own");
    gpu().check();
  });

  test("a borrowed device outlives the one who borrowed it", async () => {
    const borrowed = Gpu.borrow(gpu().device);
    borrowed[Symbol.dispose]();
    expect((await refused(borrowed.read([]))).code).toBe("DEVICE_CLOSED");
    const buffer = gpu().buffer(16, storage, "still there");
    expect((await gpu().read([{ buffer, bytes: 16 }]))[0]?.byteLength).toBe(16);
    gpu().release(buffer);
  });
});

test.skipIf(testAdapters.length === 0).each([...testAdapters])("%s gives one device, and says so", async (name) => {
  const adapter = await openTestAdapter(name);
  const first = await Gpu.open(adapter.adapter);
  expect(await refused(Gpu.open(adapter.adapter))).toMatchObject({ kind: "adapter", code: "DEVICE_REFUSED" });
  first[Symbol.dispose]();
  expect((await refused(first.settle(Promise.resolve(1)))).code).toBe("DEVICE_CLOSED");
  adapter.close();
});

test.skipIf(testAdapters.length === 0).each([...testAdapters])(
  "%s: what is refused because the device is being lost is told as its loss",
  async (name) => {
    const adapter = await openTestAdapter(name);
    const gpu = await Gpu.open(adapter.adapter);
    // Refused first, known to be lost only then.
    const work = gpu.settle(Promise.reject(new Error("refused")));
    setTimeout(() => {
      gpu.device.destroy();
    }, 10);
    expect(await refused(work)).toMatchObject({ kind: "device", code: "DEVICE_LOST" });
    gpu[Symbol.dispose]();
    adapter.close();
  },
);
