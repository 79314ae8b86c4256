/** What `visualize` wrote, for a report. */
import type { SplitRecord } from "../channels/split-record.ts";
import { UnbraidError } from "../errors.ts";
import type { Cell, Visualised } from "../report/data.ts";
import { measureOf } from "../report/evidence.ts";
import { smaller, type PictureSource } from "../report/pictures.ts";
import type { VisualisationDocument } from "./commands/visualize.ts";
import { readRegularFile } from "./read-file.ts";
import { beside, readDocument } from "./report-documents.ts";

/** The longer side of these pictures in a report, in pixels: they have no detail beyond. */
const MOST_SIDE = 96;

/** @throws UnbraidError REPORT_DOCUMENT, REPORT_OTHER */
export async function readVisualisation(
  path: string,
  record: SplitRecord,
  encode: PictureSource["encode"],
): Promise<Map<number, Visualised>> {
  const value = readDocument(path, "visualize") as unknown as VisualisationDocument;
  try {
    if (value.layer !== record.layer)
      throw new UnbraidError(
        "input",
        "REPORT_OTHER",
        `${path} is of something else: layer ${value.layer}, and the split is of ${record.layer}`,
        "Give the documents of this very split, or leave the option out.",
      );
    const { decodeImage } = await import("../images/decode.ts");
    const picture = async (file: string): Promise<string> => {
      const name = beside(path, file);
      return encode(smaller(await decodeImage(readRegularFile(name), name), MOST_SIDE));
    };
    const found = new Map<number, Visualised>();
    for (const channel of value.channels) found.set(channel.channel, await visualised(channel, picture));
    return found;
  } catch (error) {
    if (error instanceof UnbraidError) throw error;
    throw new UnbraidError(
      "input",
      "REPORT_DOCUMENT",
      `${path} is not what \`unbraid visualize\` writes: ${error instanceof Error ? error.message : String(error)}`,
      "Make it anew: unbraid visualize ... --out FOLDER, and give FOLDER/visualisation.json with its PNG files beside it.",
    );
  }
}

type Channel = VisualisationDocument["channels"][number];

async function visualised(
  { concepts, rows, excitement }: Channel,
  picture: (file: string) => Promise<string>,
): Promise<Visualised> {
  const name = (r: number): string => (r === 0 ? "the channel" : `part ${r}: ${concepts[r - 1] ?? ""}`);
  const shown: Visualised["rows"][number][] = [];
  for (const [r, { pictures }] of rows.entries()) {
    const own: { src: string; response: number }[] = [];
    for (const { file, response } of pictures) if (file !== null) own.push({ src: await picture(file), response });
    shown.push({ name: name(r), pictures: own });
  }
  return {
    rows: shown,
    matrix: {
      caption: "How much each picture excites each part, in deviations of random parts of the same size",
      columns: ["pictures made for", ...concepts.map((concept, k) => `part ${k + 1}: ${concept}`)],
      rows: rows.map((_, r): Cell[] => [
        name(r),
        ...excitement.filter((cell) => cell.pictures_of === r).map((cell) => measureOf(cell.excess)),
      ]),
      note: "Random parts: 0, deviation 1. A part that is a concept of its own is excited by its own pictures and not by the other's.",
    },
  };
}
