import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { UnbraidError } from "../../src/errors.ts";
import { modelDigest, readModelFile, sha256, sha256File, writeFileAtomic } from "../../src/files.ts";
import { onnx } from "../support/onnx-proto.ts";
import { bytesOf, modelBytes, node, TYPE, valueInfo } from "./make.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "unbraid-files-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function errorOf(run: () => unknown): UnbraidError {
  try {
    run();
  } catch (error) {
    if (error instanceof UnbraidError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe("writeFileAtomic", () => {
  it("writes text, bytes and chunks, over what was there", () => {
    const path = join(folder, "out");
    writeFileAtomic(path, "é");
    expect(readFileSync(path, "utf8")).toBe("é");
    writeFileAtomic(path, Uint8Array.of(1, 2));
    writeFileAtomic(path, [Uint8Array.of(3), new Uint8Array(0), Uint8Array.of(4, 5)]);
    expect([...readFileSync(path)]).toEqual([3, 4, 5]);
    expect(readdirSync(folder)).toEqual(["out"]);
  });

  it("leaves the old file and nothing else when making the data fails", () => {
    const path = join(folder, "out");
    writeFileAtomic(path, "old");
    const failing = function* (): Generator<Uint8Array> {
      yield Uint8Array.of(1);
      throw new RangeError("no more");
    };
    expect(() => {
      writeFileAtomic(path, failing());
    }).toThrow(RangeError);
    expect(readFileSync(path, "utf8")).toBe("old");
    expect(readdirSync(folder)).toEqual(["out"]);
  });

  it("says what is wrong with a place that cannot be written", () => {
    const missing = errorOf(() => {
      writeFileAtomic(join(folder, "no", "out"), "x");
    });
    expect([missing.kind, missing.code]).toEqual(["output", "OUTPUT_UNWRITABLE"]);
    expect(
      errorOf(() => {
        writeFileAtomic(folder, "x");
      }).message,
    ).toContain("it is a folder");
    writeFileSync(join(folder, "file"), "");
    expect(
      errorOf(() => {
        writeFileAtomic(join(folder, "file", "out"), "x");
      }).code,
    ).toBe("OUTPUT_UNWRITABLE");
  });

  it.skipIf(!existsSync("/dev/full"))("reports a full disk (needs /dev/full)", () => {
    const error = errorOf(() => {
      writeFileAtomic("/dev/full", "x");
    });
    expect([error.kind, error.code]).toEqual(["output", "DISK_FULL"]);
    expect(statSync("/dev/full").isCharacterDevice()).toBe(true);
  });

  it("writes through a link and keeps the file's mode", () => {
    writeFileSync(join(folder, "real"), "", { mode: 0o600 });
    symlinkSync("real", join(folder, "link"));
    writeFileAtomic(join(folder, "link"), "new");
    expect(readFileSync(join(folder, "real"), "utf8")).toBe("new");
    expect(statSync(join(folder, "real")).mode & 0o777).toBe(0o600);
  });
});

/** A model whose weight lies in `location`. */
function writeModel(location: string): string {
  const tensor = {
    name: "w",
    dims: [2],
    dataType: TYPE.float32,
    dataLocation: onnx.TensorProto.DataLocation.EXTERNAL,
    externalData: [
      { key: "location", value: location },
      { key: "offset", value: "4" },
      { key: "length", value: "8" },
    ],
  };
  const path = join(folder, "m.onnx");
  writeFileSync(
    path,
    modelBytes({
      node: [node("Add", ["x", "w"], ["y"])],
      input: [valueInfo("x", [2])],
      output: [valueInfo("y", [2])],
      initializer: [tensor],
    }),
  );
  return path;
}

describe("readModelFile", () => {
  it("reads external data from the model's folder", () => {
    mkdirSync(join(folder, "data"));
    writeFileSync(join(folder, "data", "w.bin"), bytesOf(Float32Array.of(9, 1, -2)));
    expect(readModelFile(writeModel("data/w.bin")).initializers.get("w")?.numbers()).toEqual(Float32Array.of(1, -2));
  });

  it("says which data file is missing, or how short it is", () => {
    const path = writeModel("w.bin");
    const read = (): unknown => readModelFile(path).initializers.get("w")?.numbers();
    const missing = errorOf(read);
    expect([missing.code, missing.message]).toEqual(["EXTERNAL_DATA", expect.stringContaining("w.bin")]);
    writeFileSync(join(folder, "w.bin"), new Uint8Array(10));
    const short = errorOf(read);
    expect([short.code, short.message]).toEqual(["EXTERNAL_DATA", expect.stringContaining("bytes 4 to 12")]);
    expect(short.message).toContain("has 10");
    rmSync(join(folder, "w.bin"));
    mkdirSync(join(folder, "w.bin"));
    expect(errorOf(read).code).toBe("EXTERNAL_DATA");
  });

  it("refuses data outside the folder, by path or by link", () => {
    const outside = mkdtempSync(join(tmpdir(), "unbraid-outside-"));
    writeFileSync(join(outside, "secret"), new Uint8Array(64));
    for (const location of [join(outside, "secret"), "../x/w.bin"]) {
      expect(errorOf(() => readModelFile(writeModel(location))).code).toBe("EXTERNAL_DATA_OUTSIDE");
    }
    symlinkSync(join(outside, "secret"), join(folder, "w.bin"));
    expect(errorOf(() => readModelFile(writeModel("w.bin")).initializers.get("w")?.numbers()).code).toBe(
      "EXTERNAL_DATA_OUTSIDE",
    );
    symlinkSync(outside, join(folder, "sub"));
    expect(errorOf(() => readModelFile(writeModel("sub/secret")).initializers.get("w")?.numbers()).code).toBe(
      "EXTERNAL_DATA_OUTSIDE",
    );
    rmSync(outside, { recursive: true });
  });

  it("says that a file is not there, or is a folder", () => {
    const missing = errorOf(() => readModelFile(join(folder, "none.onnx")));
    expect([missing.kind, missing.code]).toEqual(["model", "MODEL_UNREADABLE"]);
    expect(errorOf(() => readModelFile(folder)).code).toBe("MODEL_UNREADABLE");
  });
});

describe("digests", () => {
  it("are SHA-256 (FIPS 180 test vector)", () => {
    expect(sha256("abc")).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    writeFileSync(join(folder, "abc"), "abc");
    expect(sha256File(join(folder, "abc"))).toBe(sha256("abc"));
  });

  it("of a model cover its external data", () => {
    const path = writeModel("w.bin");
    writeFileSync(join(folder, "w.bin"), new Uint8Array(12));
    const first = modelDigest(path);
    expect(modelDigest(path, readModelFile(path))).toBe(first);
    writeFileSync(join(folder, "w.bin"), new Uint8Array(12).fill(1));
    expect(modelDigest(path)).not.toBe(first);
    rmSync(join(folder, "w.bin"));
    expect(errorOf(() => modelDigest(path)).code).toBe("EXTERNAL_DATA");
  });

  it("of a model in one file are the file's", () => {
    const path = join(folder, "m.onnx");
    writeFileSync(
      path,
      modelBytes({ node: [node("Relu", ["x"], ["y"])], input: [valueInfo("x", [2])], output: [valueInfo("y", [2])] }),
    );
    expect(modelDigest(path)).toBe(sha256File(path));
  });
});
