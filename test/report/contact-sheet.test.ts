/** The sheet of pictures that `visualize` writes. */
import { expect, test } from "vitest";
import { textSize, write } from "../../src/images/lettering.ts";
import { contactSheet } from "../../src/report/contact-sheet.ts";

const grey = { width: 64, height: 64, data: new Uint8Array(3 * 64 * 64).fill(120) };

test("captions are whole, on a sheet of one picture a row too", () => {
  const caption = "channel 262, part 2: tropical-fish";
  const sheet = contactSheet([
    { caption: "channel 262", pictures: [grey] },
    { caption, pictures: [grey] },
  ]);
  const { width, height } = textSize(caption, 2);
  expect(sheet.width).toBe(width + 16);
  const alone = { width: sheet.width, height, data: new Uint8Array(3 * sheet.width * height).fill(255) };
  write(alone, caption, 8, 0, 2);
  const top = sheet.height / 2 + 4;
  expect(Buffer.compare(sheet.data.subarray(3 * top * sheet.width, 3 * (top + height) * sheet.width), alone.data)).toBe(
    0,
  );
});

test("pictures make a sheet as wide as they need, and small ones are enlarged", () => {
  const sheet = contactSheet([{ caption: "x", pictures: [grey, grey, grey] }]);
  expect(sheet.width).toBe(8 + 3 * (128 + 8));
  expect(sheet.data.length).toBe(3 * sheet.width * sheet.height);
});
