/** The order of the search, with adapters that exist only here. */
import { expect, test } from "vitest";
import { loadDawn } from "../../src/gpu/dawn/dawn.ts";
import {
  chooseAdapter,
  matches,
  type AdapterKind,
  type AdapterSource,
  type Candidate,
  type Problem,
} from "../../src/gpu/dawn/search.ts";

const fake = (name: string, kind: AdapterKind, failure?: string): Candidate<string> => ({
  name,
  kind,
  description: `${name} by Fake`,
  open: () => (failure === undefined ? Promise.resolve(name) : Promise.reject(new Error(failure))),
});

function source(log: string[], ...found: (Candidate<string> | Problem)[]): AdapterSource<string> {
  // eslint-disable-next-line @typescript-eslint/require-await -- real sources wait
  return async function* () {
    for (const one of found) {
      log.push(one.name);
      yield one;
    }
  };
}

const gpu = fake("Fast GPU", "hardware");
const lavapipe = fake("llvmpipe", "lavapipe");
const swift = fake("SwiftShader", "swiftshader");
const other = fake("Other Renderer", "software");

test("hardware ends the search, and nothing after it is started", async () => {
  const log: string[] = [];
  expect(await chooseAdapter([source(log, gpu, lavapipe), source(log, swift)])).toBe("Fast GPU");
  expect(log).toEqual(["Fast GPU"]);
});

test("lavapipe ends the search before SwiftShader", async () => {
  const log: string[] = [];
  expect(await chooseAdapter([source(log, lavapipe), source(log, swift)])).toBe("llvmpipe");
  expect(log).toEqual(["llvmpipe"]);
});

test("another software driver is used only when nothing better comes", async () => {
  expect(await chooseAdapter([source([], other), source([], swift)])).toBe("SwiftShader");
  expect(await chooseAdapter([source([], other, lavapipe), source([], swift)])).toBe("llvmpipe");
  expect(await chooseAdapter([source([], swift), source([], other)])).toBe("SwiftShader");
  expect(await chooseAdapter([source([], other), source([])])).toBe("Other Renderer");
});

test("what is listed but does not open does not end the search", async () => {
  const broken = fake("Broken GPU", "hardware", "no permission");
  expect(await chooseAdapter([source([], { name: "system", problem: "refused" }, broken), source([], swift)])).toBe(
    "SwiftShader",
  );
});

test("a name is matched against kind, name and description, whatever the case", async () => {
  const all = [source([], gpu, lavapipe), source([], swift)];
  expect(await chooseAdapter(all, "SwiftShader")).toBe("SwiftShader");
  expect(await chooseAdapter(all, "lavapipe")).toBe("llvmpipe");
  expect(await chooseAdapter(all, "LLVM")).toBe("llvmpipe");
  expect(await chooseAdapter(all, "fast")).toBe("Fast GPU");
  expect(matches(gpu, "FAKE")).toBe(true);
  expect(matches(gpu, "hardwar")).toBe(false); // a kind is given in full
});

test("an unknown name lists what is there", async () => {
  const broken = fake("Broken GPU", "hardware", "no permission");
  await expect(chooseAdapter([source([], lavapipe), source([], swift)], "voodoo")).rejects.toMatchObject({
    kind: "adapter",
    code: "ADAPTER_UNKNOWN",
    message: 'no adapter matches "voodoo"; there are llvmpipe (lavapipe), SwiftShader (swiftshader)',
  });
  await expect(chooseAdapter([source([], broken, swift)], "broken")).rejects.toMatchObject({
    code: "ADAPTER_UNKNOWN",
    message: expect.stringContaining("Broken GPU: no permission") as string,
  });
});

test("none at all says why, and what to install", async () => {
  const missing = { name: "SwiftShader (npm package)", problem: "not installed" };
  const broken = fake("Broken GPU", "hardware", "no permission");
  for (const wanted of [undefined, "broken"]) {
    await expect(chooseAdapter([source([], broken), source([], missing)], wanted)).rejects.toMatchObject({
      kind: "adapter",
      code: "ADAPTER_NONE",
      message: expect.stringMatching(/Broken GPU: no permission; SwiftShader \(npm package\): not installed/) as string,
      remedy: expect.stringMatching(/mesa-vulkan-drivers.*@sparticuz\/chromium/) as string,
    });
  }
});

test("a webgpu package that cannot be loaded is an adapter error with a remedy", async () => {
  const failing = (text: string) => loadDawn(() => Promise.reject(new Error(text)));
  await expect(failing("/lib/libc.so.6: version `GLIBC_2.38' not found")).rejects.toMatchObject({
    kind: "adapter",
    code: "ADAPTER_WEBGPU",
    remedy: expect.stringMatching(/glibc 2\.34 or newer .* finds \d+\.\d+/) as string,
  });
  await expect(failing("Cannot find package 'webgpu'")).rejects.toMatchObject({
    code: "ADAPTER_WEBGPU",
    remedy: expect.stringContaining("npm install webgpu@0.6.2") as string,
  });
});
