/** Unpacking SwiftShader and the Vulkan loader out of the npm package. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { tarFiles, unpackSwiftShader } from "../../src/gpu/dawn/swiftshader.ts";
import { ChildSources } from "../support/child.ts";

/** One entry of a tar: header block, contents, zeros up to 512 bytes. */
function tarEntry(name: string, content: string, type = "0"): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write(content.length.toString(8).padStart(11, "0"), 124);
  header.write(type, 156);
  const body = Buffer.alloc(Math.ceil(content.length / 512) * 512);
  body.write(content);
  return Buffer.concat([header, body]);
}

describe("tar", () => {
  const end = Buffer.alloc(1024);
  test("plain files come by their last name, other entries are passed over", () => {
    const tar = Buffer.concat([
      tarEntry("dir/", "", "5"),
      tarEntry("dir/a.txt", "x".repeat(512)),
      tarEntry("b", "y".repeat(513)),
      tarEntry("link", "", "2"),
      tarEntry("empty", "", "\0"),
      end,
    ]);
    expect(Array.from(tarFiles(tar), ({ name, content }) => [name, content.toString()])).toEqual([
      ["a.txt", "x".repeat(512)],
      ["b", "y".repeat(513)],
      ["empty", ""],
    ]);
  });
  test("a cut archive is an error", () => {
    expect(() => [...tarFiles(tarEntry("a", "x".repeat(600)).subarray(0, 800))]).toThrow("damaged at byte 0");
  });
});

const supported = process.platform === "linux" && process.arch === "x64";

describe.skipIf(!supported)("unpacking (linux-x64 only)", () => {
  const scratch = mkdtempSync(join(tmpdir(), "unbraid-test-"));
  const script = (body: string): string => `import { unpackSwiftShader } from "./src/gpu/dawn/swiftshader.js"; ${body}`;
  afterAll(() => {
    rmSync(scratch, { recursive: true, force: true });
  });

  test("once, keyed by version, and mended when a cache cleaner has been at it", async () => {
    const cache = join(scratch, "once");
    const first = await unpackSwiftShader(cache);
    expect(first.folder).toMatch(/swiftshader-\d+\.\d+\.\d+$/);
    expect(readdirSync(cache)).toHaveLength(1);
    expect(readdirSync(first.folder).sort()).toEqual([
      "libvk_swiftshader.so",
      "libvulkan.so.1",
      "vk_swiftshader_icd.json",
    ]);
    expect(readFileSync(first.loader).subarray(0, 4).toString("latin1")).toBe("\x7fELF");
    const made = statSync(first.loader).ino;
    await unpackSwiftShader(cache);
    expect(statSync(first.loader).ino).toBe(made);
    rmSync(first.loader);
    writeFileSync(first.manifest, "");
    await unpackSwiftShader(cache);
    expect(statSync(first.loader).size).toBeGreaterThan(100_000);
    expect(readFileSync(first.manifest, "utf8")).toContain("libvk_swiftshader.so");
    expect(readdirSync(cache)).toHaveLength(1);
  });

  test("processes that race all get it, and leave nothing else behind", async () => {
    using racing = new ChildSources("src/gpu/dawn/swiftshader.ts");
    const cache = join(scratch, "race");
    const body = script(`const { folder } = await unpackSwiftShader(${JSON.stringify(cache)}); console.log(folder);`);
    const results = await Promise.all([racing.run(body), racing.run(body), racing.run(body)]);
    const [name] = readdirSync(cache);
    expect(readdirSync(cache)).toEqual([name]);
    for (const { end, stdout } of results) expect([end, stdout.trim()]).toEqual([0, join(cache, name ?? "")]);
  });

  test("a cache that cannot be written: a temporary folder, gone after the process", async () => {
    using child = new ChildSources("src/gpu/dawn/swiftshader.ts");
    const file = join(scratch, "file");
    writeFileSync(file, ""); // root may write anywhere, but not below a plain file
    const { end, stdout } = await child.run(
      script(`import { existsSync } from "node:fs";
        const { folder, loader } = await unpackSwiftShader(${JSON.stringify(join(file, "cache"))});
        console.log(JSON.stringify({ folder, there: existsSync(loader) }));`),
    );
    expect(end).toBe(0);
    const { folder, there } = JSON.parse(stdout) as { folder: string; there: boolean };
    expect(there).toBe(true);
    expect(() => statSync(folder)).toThrow("ENOENT");
  });
});
