import sharp from "sharp";
import { describe, expect, test } from "vitest";
import { decodeImage } from "../../src/images/decode.ts";
import golden from "./golden.json" with { type: "json" };
import { errorOf, pixels, png, sha256 } from "./support.ts";

type File = [width: number, height: number, rgb: string, base64: string];
const files = Object.entries(golden.files as unknown as Record<string, File>);
const bytesOf = (name: string): Buffer => Buffer.from(files.find(([n]) => n === name)?.[1][3] ?? "", "base64");

describe("against Pillow's convert('RGB'), by digest (make_golden.py)", () => {
  test.each(files)("%s", async (name, [width, height, rgb, base64]) => {
    const image = await decodeImage(Buffer.from(base64, "base64"), name);
    expect([image.width, image.height, image.data.length]).toEqual([width, height, width * height * 3]);
    expect(sha256(image.data)).toBe(rgb);
  });
});

test("a colour profile changes nothing", async () => {
  const data = pixels(16 * 9 * 3, 1);
  const raw = sharp(data, { raw: { width: 16, height: 9, channels: 3 } });
  const image = await decodeImage(await raw.withIccProfile("p3").png().toBuffer(), "p3.png");
  const stored = await sharp(await raw.withIccProfile("p3").png().toBuffer(), { ignoreIcc: true })
    .raw()
    .toBuffer();
  expect(Buffer.from(image.data)).toEqual(stored);
});

test("orientation in EXIF changes nothing", async () => {
  const raw = sharp(pixels(16 * 9 * 3, 1), { raw: { width: 16, height: 9, channels: 3 } });
  const image = await decodeImage(await raw.withMetadata({ orientation: 6 }).png().toBuffer(), "turned.png");
  expect([image.width, image.height]).toEqual([16, 9]);
  expect(image.data).toEqual(pixels(16 * 9 * 3, 1));
});

describe("cut short", () => {
  test.each(files.filter(([name]) => !name.endsWith(".tif")))("%s", async (name) => {
    const bytes = bytesOf(name);
    // Whatever is left out, the end of the pixels is missing; a PNG's last chunk alone may be, as for Pillow.
    for (const length of [bytes.length - 20, Math.floor(bytes.length / 2)]) {
      const error = await errorOf(() => decodeImage(bytes.subarray(0, length), name));
      expect(error.code).toBe("IMAGE_CORRUPT");
      expect(error.kind).toBe("input");
      expect(error.message).toContain(name);
      expect(error.remedy).toContain("--skip-bad");
    }
  });
});

test("damaged data: JPEG with broken codes, PNG with a broken checksum", async () => {
  const large = pixels(64 * 64 * 3, 5);
  const jpeg = await sharp(large, { raw: { width: 64, height: 64, channels: 3 } })
    .jpeg({ mozjpeg: false })
    .toBuffer();
  jpeg.set([0xff, 0xd0], Math.floor(jpeg.length / 2)); // a restart marker where none belongs
  expect((await errorOf(() => decodeImage(jpeg, "a.jpg"))).code).toBe("IMAGE_CORRUPT");
  const broken = await png(large, 64, 64);
  broken[broken.length - 15] = (broken[broken.length - 15] ?? 0) ^ 1;
  expect((await errorOf(() => decodeImage(broken, "b.png"))).code).toBe("IMAGE_CORRUPT");
});

test("stray bytes between JPEG markers are no damage", async () => {
  const jpeg = bytesOf("420.jpg");
  const stray = Buffer.concat([jpeg.subarray(0, 20), Buffer.of(1, 2, 3, 4), jpeg.subarray(20)]);
  expect(await decodeImage(stray, "stray.jpg")).toEqual(await decodeImage(jpeg, "420.jpg"));
});

describe("no image", () => {
  test.each([
    ["page.jpg", "<html>not found</html>"],
    ["drawing.png", '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'],
    ["film.gif", "GIF89a............"],
    ["note.bmp", "hello"],
  ])("%s", async (name, text) => {
    const error = await errorOf(() => decodeImage(Buffer.from(text), name));
    expect(error.code).toBe("IMAGE_FORMAT");
    expect(error.message).toContain(name);
  });
  test("empty", async () => {
    expect((await errorOf(() => decodeImage(new Uint8Array(0), "empty.jpg"))).code).toBe("IMAGE_CORRUPT");
  });
});

describe("enormous sizes in small files are refused by their header", () => {
  const claimed: [string, (width: number, height: number) => Uint8Array][] = [
    [
      "big.png",
      (width, height) => {
        const bytes = bytesOf("8-2.png");
        bytes.writeUInt32BE(width, 16);
        bytes.writeUInt32BE(height, 20);
        return bytes;
      },
    ],
    [
      "big.bmp",
      (width, height) => {
        const bytes = bytesOf("24.bmp");
        bytes.writeInt32LE(width, 18);
        bytes.writeInt32LE(height, 22);
        return bytes;
      },
    ],
    ["big.ppm", (width, height) => Buffer.from(`P6\n${width} ${height}\n255\nabc`)],
    [
      "big.jpg",
      (width, height) => {
        const bytes = bytesOf("420.jpg");
        const frame = bytes.indexOf(Buffer.of(0xff, 0xc0));
        bytes.writeUInt16BE(height, frame + 5);
        bytes.writeUInt16BE(width, frame + 7);
        return bytes;
      },
    ],
  ];
  test.each(claimed)("%s", async (name, make) => {
    const before = process.memoryUsage().rss;
    const error = await errorOf(() => decodeImage(make(60000, 50000), name));
    expect(error.code).toBe("IMAGE_TOO_LARGE");
    expect(error.message).toContain("60000 x 50000 = 3000000000");
    expect(process.memoryUsage().rss - before).toBeLessThan(100e6);
  });
  test("the limit can be set", async () => {
    const error = await errorOf(() => decodeImage(bytesOf("24.bmp"), "a.bmp", { maxPixels: 246 }));
    expect(error.message).toContain("at most 246");
    expect((await decodeImage(bytesOf("24.bmp"), "a.bmp", { maxPixels: 247 })).width).toBe(19);
  });
});
