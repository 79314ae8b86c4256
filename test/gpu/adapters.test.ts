/** Real adapters: lavapipe and SwiftShader in this process, then processes of their own for environments and exits. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { listAdapters } from "../../src/gpu/dawn/adapters.ts";
import { ChildSources } from "../support/child.ts";
import { openTestAdapter, testAdapters } from "../support/gpu.ts";

/** a + b on `device`, by WebGPU's bare interface; also the text of a function for processes of their own. */
const ADD = /* js */ `async function add(device, a, b) {
  const module = device.createShaderModule({ code: \`
    @group(0) @binding(0) var<storage, read> a: array<f32>;
    @group(0) @binding(1) var<storage, read> b: array<f32>;
    @group(0) @binding(2) var<storage, read_write> c: array<f32>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
      if (id.x < arrayLength(&c)) { c[id.x] = a[id.x] + b[id.x]; }
    }\` });
  const [mapRead, copySrc, copyDst, storage] = [1, 4, 8, 128];
  const pipeline = device.createComputePipeline({ layout: "auto", compute: { module } });
  const buffers = [a, b, undefined].map((data) => {
    const buffer = device.createBuffer({ size: a.byteLength, usage: storage | copySrc | copyDst });
    if (data !== undefined) device.queue.writeBuffer(buffer, 0, data);
    return buffer;
  });
  const out = device.createBuffer({ size: a.byteLength, usage: mapRead | copyDst });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
  }));
  pass.dispatchWorkgroups(Math.ceil(a.length / 64));
  pass.end();
  encoder.copyBufferToBuffer(buffers[2], 0, out, 0, a.byteLength);
  device.queue.submit([encoder.finish()]);
  await out.mapAsync(mapRead);
  const result = new Float32Array(out.getMappedRange().slice(0));
  out.unmap();
  return result;
}`;

type Add = (device: GPUDevice, a: Float32Array, b: Float32Array) => Promise<Float32Array>;
// eslint-disable-next-line @typescript-eslint/no-implied-eval, @typescript-eslint/no-unsafe-call -- the one text serves both places
const add = new Function(`return ${ADD}`)() as Add;

/** Odd length; whole numbers below 2^24, so that float32 sums are exact and the comparison needs no tolerance. */
const vectors = (n = 1001): { a: Float32Array; b: Float32Array; sum: Float32Array } => {
  const a = Float32Array.from({ length: n }, () => Math.floor(Math.random() * 1e6));
  const b = Float32Array.from({ length: n }, () => Math.floor(Math.random() * 1e6));
  return { a, b, sum: a.map((x, i) => x + (b[i] ?? 0)) };
};

describe.skipIf(testAdapters.length === 0)("adapters of this machine", () => {
  test.each(testAdapters)("%s opens, says what it is, and adds two vectors", async (name) => {
    using open = await openTestAdapter(name);
    expect(open.kind).toBe(name);
    expect(open.software).toBe(open.kind !== "hardware");
    expect(open.name).toMatch(/llvmpipe|SwiftShader/);
    const { a, b, sum } = vectors();
    expect(await add(await open.adapter.requestDevice(), a, b)).toEqual(sum);
  });

  test("all of them side by side in one process, and one more of the first afterwards", async () => {
    const { a, b, sum } = vectors();
    const names = [...testAdapters, ...testAdapters.slice(0, 1)];
    const open = [];
    for (const name of names) open.push(await openTestAdapter(name));
    const devices = await Promise.all(open.map(({ adapter }) => adapter.requestDevice()));
    for (const result of await Promise.all(devices.map((device) => add(device, a, b)))) expect(result).toEqual(sum);
    for (const one of open) one.close();
    using again = await openTestAdapter(names[0] ?? "");
    expect(await add(await again.adapter.requestDevice(), a, b)).toEqual(sum);
  });

  test("closing destroys the devices, may be done twice, and ends what the adapter can do", async () => {
    const open = await openTestAdapter(testAdapters[0] ?? "");
    const device = await open.adapter.requestDevice();
    open.close();
    open.close();
    expect((await device.lost).reason).toBe("destroyed");
    await expect(open.adapter.requestDevice()).rejects.toThrow("has been closed");
  });

  test("doctor's list has each with features and limits", async () => {
    const list = await listAdapters();
    for (const name of testAdapters) {
      const report = list.find((one) => one.usable && one.kind === name);
      if (report?.usable !== true) throw new Error(`${name} is not in the list`);
      expect(report.software).toBe(true);
      expect(report.features).toContain("core-features-and-limits");
      expect(report.limits.maxBufferSize).toBeGreaterThanOrEqual(2 ** 28);
      expect(report.limits.maxStorageBuffersPerShaderStage).toBeGreaterThanOrEqual(8);
      expect(Object.keys(report.limits).length).toBeGreaterThan(25);
    }
    expect(JSON.parse(JSON.stringify(list))).toEqual(list); // plain objects
  });

  test("the environment is as it was", async () => {
    const before = { ...process.env };
    (await openTestAdapter(testAdapters.at(-1) ?? "")).close();
    expect({ ...process.env }).toEqual(before);
  });
});

describe.skipIf(!testAdapters.includes("swiftshader"))("in a process of its own", () => {
  const scratch = mkdtempSync(join(tmpdir(), "unbraid-test-"));
  let sources: ChildSources;
  beforeAll(() => {
    sources = new ChildSources("src/errors.ts", "src/gpu/dawn");
  });
  afterAll(() => {
    sources[Symbol.dispose]();
    rmSync(scratch, { recursive: true, force: true });
  });

  const prelude = `import { openAdapter, listAdapters } from "./src/gpu/dawn/adapters.js";
    import { readFileSync } from "node:fs";
    ${ADD}
    const a = Float32Array.from({ length: 100 }, (_, i) => i);
    async function use(adapter) {
      const device = await adapter.adapter.requestDevice();
      const c = await add(device, a, a);
      if (!c.every((x, i) => x === 2 * i)) throw new Error("wrong sums");
      return device;
    }
    /** About a second of work, begun and not waited for. */
    function begin(device) {
      const turns = open.kind === "lavapipe" ? 600000 : 60000;
      const module = device.createShaderModule({ code: \`
        @group(0) @binding(0) var<storage, read_write> c: array<f32>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
          var x = c[id.x];
          for (var i = 0u; i < \${turns}u; i++) { x = x * 1.0001 + 0.1; }
          c[id.x] = x;
        }\` });
      const pipeline = device.createComputePipeline({ layout: "auto", compute: { module } });
      const buffer = device.createBuffer({ size: 64 * 64 * 4, usage: 128 });
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: [{ binding: 0, resource: { buffer } }] }));
      pass.dispatchWorkgroups(64);
      pass.end();
      device.queue.submit([encoder.finish()]);
      return device.queue.onSubmittedWorkDone();
    }
    const libraries = () => [...new Set(readFileSync("/proc/self/maps", "utf8").match(/\\/\\S*\\/lib(vulkan|vk_swiftshader)\\.so\\S*/g))];
    `;
  const hidden = { VK_DRIVER_FILES: join(scratch, "none.json"), VK_ICD_FILENAMES: join(scratch, "none.json") };
  const chosen = `const open = await openAdapter({ log: (line) => console.log(line) }); await use(open);`;

  test("with every system driver hidden, SwiftShader is found, and one line says so", async () => {
    const { end, stdout } = await sources.run(prelude + chosen, hidden);
    expect(end).toBe(0);
    expect(stdout).toMatch(/^adapter: SwiftShader.*\(swiftshader, a software adapter.*\)\n$/);
  });

  test("drivers that are broken do not end the search, and are no part of an error", async () => {
    const broken = join(scratch, "broken.json");
    const nonsense = join(scratch, "nonsense.json");
    writeFileSync(broken, '{"file_format_version":"1.0.0","ICD":{"library_path":"./none.so","api_version":"1.3.0"}}');
    writeFileSync(nonsense, "nonsense");
    const both = `${broken}:${nonsense}`;
    const { end, stdout } = await sources.run(prelude + chosen, { VK_DRIVER_FILES: both, VK_ICD_FILENAMES: both });
    expect(end).toBe(0);
    expect(stdout).toMatch(/^adapter: SwiftShader/);
  });

  test("without a Vulkan loader on the system, the package's is used", async () => {
    // The linker looks here first, and stops at a file that is no library.
    writeFileSync(join(scratch, "libvulkan.so.1"), "not a library");
    const body = `const open = await openAdapter({ name: "swiftshader" }); await use(open); console.log(JSON.stringify(libraries()));`;
    const { end, stdout } = await sources.run(prelude + body, { ...hidden, LD_LIBRARY_PATH: scratch });
    expect(end).toBe(0);
    const used = JSON.parse(stdout) as string[];
    expect(used).toHaveLength(2);
    for (const path of used) expect(path).toMatch(/\/swiftshader-[\d.]+\/(libvulkan\.so\.1|libvk_swiftshader\.so)$/);
  });

  test("a runtime folder is provided where the environment names none", async () => {
    const body = `${chosen} const { statSync } = await import("node:fs");
      const stat = statSync(process.env.XDG_RUNTIME_DIR); console.error("mode", (stat.mode & 0o777).toString(8));`;
    const { end, stderr } = await sources.run(prelude + body, {
      ...hidden,
      XDG_RUNTIME_DIR: undefined,
      XDG_CACHE_HOME: join(scratch, "cache"),
    });
    expect(end).toBe(0);
    expect(stderr).toContain("mode 700");
    expect(stderr).not.toContain("XDG_RUNTIME_DIR");
  });

  test("without any adapter, and with one that is not there: the error, its code and its remedy", async () => {
    const body = `import { rmSync } from "node:fs";
      for (const name of [undefined, "voodoo"]) {
        try { await openAdapter({ name }); } catch (error) { console.log(error.kind, error.code, error.message, "|", error.remedy); }
      }`;
    const unknown = await sources.run(prelude + body);
    expect(unknown.end).toBe(0);
    expect(unknown.stdout).toMatch(
      /^adapter ADAPTER_UNKNOWN no adapter matches "voodoo"; there .*SwiftShader.* \| .*doctor/m,
    );

    using bare = new ChildSources("src/errors.ts", "src/gpu/dawn");
    bare.hidePackage("@sparticuz/chromium");
    const none = await bare.run(prelude + body, hidden);
    expect(none.end).toBe(0);
    expect(
      none.stdout.match(/^adapter ADAPTER_NONE .*@sparticuz\/chromium is not installed.* \| Install/gm),
    ).toHaveLength(2);
  });

  test("exiting destroys the devices, which is what waits for their work", async () => {
    const body = `const open = await openAdapter({ name: "swiftshader" }); const device = await use(open);
      const destroy = device.destroy.bind(device);
      device.destroy = () => { console.log("destroyed"); destroy(); };
      process.exit(3);`;
    expect(await sources.run(prelude + body)).toMatchObject({ end: 3, stdout: "destroyed\n" });
  });

  // Exiting while Mesa compiles or runs a shader crashes one time in four on a busy machine unless the devices are destroyed.
  describe.each(testAdapters)("exit on %s", (name) => {
    const opened = `const open = await openAdapter({ name: ${JSON.stringify(name)} }); const device = await use(open);`;
    test.each([
      ["falls off the end with the adapter open", "", 0],
      ["closes", "open.close();", 0],
      ["keeps its exit code", "process.exitCode = 5;", 5],
      ["exits", "process.exit(3);", 3],
      ["waits for work and ends", "await begin(device); open.close();", 0],
      ["exits while the GPU works", "begin(device); process.exit(3);", 3],
      ["closes while the GPU works", "begin(device).catch(() => {}); open.close();", 0],
      ["throws while the GPU works", 'begin(device); throw new Error("on purpose");', 1],
    ] as const)("a process that %s", async (_, body, expected) => {
      const { end, stderr } = await sources.run(prelude + opened + body);
      expect(end, stderr).toBe(expected);
    });
  });
});
