import { createHash } from "node:crypto";
import { symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseClasses } from "../../src/images/classes.ts";
import { imageFilesDigest, imageListDigest } from "../../src/images/digest.ts";
import { compareCodePoints, listFiles, listImages } from "../../src/images/folder.ts";
import { errorOf, folderOf } from "./support.ts";

describe("listImages as torchvision's ImageFolder", () => {
  test("classes and files in Python's order, upper case first, extensions in any case, other files ignored", async () => {
    const dir = folderOf({
      "b/2.png": "",
      "b/10.JPEG": "",
      "b/notes.txt": "",
      "b/x.gif": "",
      "a/z.webp": "",
      "a/Y.Tiff": "",
      "Z/.hidden.bmp": "",
      "stray.png": "",
      "README.md": "",
    });
    expect(await listImages(dir)).toEqual({
      classes: ["Z", "a", "b"],
      items: [
        { path: "Z/.hidden.bmp", label: 0 },
        { path: "a/Y.Tiff", label: 1 },
        { path: "a/z.webp", label: 1 },
        { path: "b/10.JPEG", label: 2 },
        { path: "b/2.png", label: 2 },
      ],
    });
  });

  test("below a class, folders in the order of their whole paths, as sorted(os.walk()) has them", async () => {
    // "sub-x" < "sub/y" because "-" < "/", so the sibling comes between a folder and what is below it.
    const dir = folderOf({ "c/sub/y/1.png": "", "c/sub/2.png": "", "c/sub-x/3.png": "", "c/z.png": "" });
    const { items } = await listImages(dir);
    expect(items.map((i) => i.path)).toEqual(["c/z.png", "c/sub/2.png", "c/sub-x/3.png", "c/sub/y/1.png"]);
  });

  test("links are followed, a link back up is not", async () => {
    const dir = folderOf({ "a/1.png": "", "other/2.png": "" });
    const images = folderOf({ "a/3.png": "" });
    symlinkSync(join(dir, "other"), join(images, "b"));
    symlinkSync(join(dir, "a"), join(images, "a", "more"));
    symlinkSync(images, join(images, "a", "up"));
    symlinkSync(join(images, "a"), join(images, "a", "self"));
    const { classes, items } = await listImages(images);
    expect(classes).toEqual(["a", "b"]);
    expect(items.map((i) => i.path)).toEqual(["a/3.png", "a/more/1.png", "a/up/b/2.png", "b/2.png"]);
  });

  test("a limit takes the first of each class", async () => {
    const dir = folderOf({ "a/1.png": "", "a/2.png": "", "a/3.png": "", "b/1.png": "" });
    const { items } = await listImages(dir, { limitPerClass: 2 });
    expect(items.map((i) => i.path)).toEqual(["a/1.png", "a/2.png", "b/1.png"]);
  });

  test("errors: no folder, no classes, all empty classes", async () => {
    const dir = folderOf({ "a/1.png": "", "b/readme.txt": "", "c/deep/notes": "" });
    const empty = await errorOf(() => listImages(dir));
    expect(empty.code).toBe("IMAGES_EMPTY_CLASS");
    expect(empty.message).toContain("2 of 3");
    expect(empty.message).toContain("b, c");
    expect((await errorOf(() => listImages(join(dir, "a")))).code).toBe("IMAGES_NO_CLASSES");
    expect((await errorOf(() => listImages(join(dir, "no")))).code).toBe("IMAGES_UNREADABLE");
    expect((await errorOf(() => listImages(join(dir, "a", "1.png")))).code).toBe("IMAGES_UNREADABLE");
  });
});

test("code points, not UTF-16 units: U+1F600 comes after U+FF01", () => {
  expect(["\u{1f600}", "\uff01", "a", "", "ab", "\ud7ff"].sort(compareCodePoints)).toEqual([
    "",
    "a",
    "ab",
    "\ud7ff",
    "\uff01",
    "\u{1f600}",
  ]);
});

describe("classes files", () => {
  const files = { "dog/1.png": "", "cat/1.png": "" };
  test.each([
    ["JSON array", '["bird", "dog", "cat"]', ["bird", "dog", "cat"]],
    ["text", "bird\r\ndog\r\ncat\r\n\r\n", ["bird", "dog", "cat"]],
    ["JSON object", '{"dog": 1, "cat": 2}', ["0", "dog", "cat"]],
    ["JSON object with more", '{"dog": 1, "cat": 2, "bird": 0, "frog": 9}', ["bird", "dog", "cat"]],
  ])("%s", async (_, text, classes) => {
    const dir = folderOf(files);
    const path = join(folderOf({ "classes.txt": text }), "classes.txt");
    expect(await listImages(dir, { classesFile: path })).toEqual({
      classes,
      items: [
        { path: "cat/1.png", label: 2 },
        { path: "dog/1.png", label: 1 },
      ],
    });
  });

  test("folders that are missing from it are all named", async () => {
    const path = join(folderOf({ "classes.json": '["bird"]' }), "classes.json");
    const error = await errorOf(() => listImages(folderOf(files), { classesFile: path }));
    expect(error.code).toBe("CLASSES_MISSING");
    expect(error.message).toContain("cat, dog");
  });

  test.each([
    ['["a", 1]', "element 1"],
    ['["a", "a"]', "element 1"],
    ['["a"', "not JSON"],
    ['{"a": -1}', '"a"'],
    ['{"a": 0.5}', '"a"'],
    ['{"a": "0"}', '"a"'],
    ["a\n\nb", "line 2"],
    ["a\nb\na", "line 3"],
    ["", "line 1"],
  ])("%j is refused", async (text, part) => {
    const error = await errorOf(() => parseClasses(text, "classes.txt"));
    expect(error.code).toBe("CLASSES_INVALID");
    expect(error.message).toContain("classes.txt");
    expect(error.message).toContain(part);
  });

  test("one that is not there", async () => {
    const error = await errorOf(() => listImages(folderOf(files), { classesFile: "no-such-file" }));
    expect(error.code).toBe("CLASSES_INVALID");
  });
});

test("the digest is over path, label and size, in order", async () => {
  const dir = folderOf({ "a/1.png": "123", "b/2.png": "12345" });
  const { items } = await listImages(dir);
  const expected = createHash("sha256").update("unbraid image list 1\na/1.png\x000\x003\nb/2.png\x001\x005\n");
  const digest = expected.digest("hex");
  expect(await imageListDigest(items, dir)).toBe(digest);
  expect(await imageListDigest([...items].reverse(), dir)).not.toBe(digest);
  writeFileSync(join(dir, "a/1.png"), "abc");
  expect(await imageListDigest(items, dir)).toBe(digest);
  writeFileSync(join(dir, "a/1.png"), "abcd");
  expect(await imageListDigest(items, dir)).not.toBe(digest);
  const gone = await errorOf(() => imageListDigest([{ path: "a/9.png", label: 0 }], dir));
  expect(gone.code).toBe("IMAGE_UNREADABLE");
});

test("files one by one, and below folders, without labels", async () => {
  const dir = folderOf({ "a/1.png": "", "a/sub/2.jpg": "", "odd.name": "", "empty/x.txt": "" });
  const items = await listFiles([join(dir, "odd.name"), join(dir, "a")]);
  expect(items).toEqual(["odd.name", "a/1.png", "a/sub/2.jpg"].map((p) => ({ path: `${dir}/${p}`, label: -1 })));
  const missing = await errorOf(() => listFiles([join(dir, "no.png")]));
  expect([missing.code, missing.message]).toEqual([
    "IMAGES_UNREADABLE",
    expect.stringMatching(/no\.png cannot be read: there is no such file or folder$/),
  ]);
  expect((await errorOf(() => listFiles([join(dir, "empty")]))).code).toBe("IMAGES_UNREADABLE");
});

test("the digest of the files is over path, label and contents, in order", async () => {
  const sha = (text: string): string => createHash("sha256").update(text).digest("hex");
  const dir = folderOf({ "a/1.png": "123", "b/2.png": "12345" });
  const { items } = await listImages(dir);
  const of = (first: string): string =>
    sha(`unbraid image files 1\na/1.png\x000\x00${sha(first)}\nb/2.png\x001\x00${sha("12345")}\n`);
  expect(await imageFilesDigest(items, dir)).toBe(of("123"));
  writeFileSync(join(dir, "a/1.png"), "abc");
  expect(await imageFilesDigest(items, dir)).toBe(of("abc"));
  const gone = await errorOf(() => imageFilesDigest([{ path: "a/9.png", label: 0 }], dir));
  expect(gone.code).toBe("IMAGE_UNREADABLE");
});
