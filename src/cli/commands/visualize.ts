/** `unbraid visualize`: pictures that excite a channel most, and each of its parts. */
import { join } from "node:path";
import { visualize as ascend, type Ascended } from "../../channels/visualize/ascent.ts";
import { excitement, type Excitement } from "../../channels/visualize/excitement.ts";
import { Random } from "../../channels/random.ts";
import { splitRecords } from "../../channels/split-record.ts";
import { Session } from "../../engine/session.ts";
import { UnbraidError } from "../../errors.ts";
import { makeFolder } from "../../files.ts";
import type { RgbImage } from "../../images/preprocess.ts";
import { contactSheet } from "../../report/contact-sheet.ts";
import { usageError } from "../arguments.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { imageNetwork, PREPROCESS_OPTIONS, type ImageNetwork } from "../images.ts";
import { openModel } from "../model.ts";
import { Progress } from "../progress.ts";
import { table } from "../table.ts";
import { visualizedLayer, type VisualizedChannel, type VisualizedLayer } from "../visualize-rows.ts";

const DEFAULTS = { pictures: 4, steps: 120, seed: 1, draws: 200 } as const;
/** Pictures that climb together. */
const AT_ONCE = 24;

export const visualize: Command = {
  name: "visualize",
  summary: "feature visualisation: pictures that excite a channel most, and each part of a split one",
  usage: ["visualize MODEL --layer L --channel C... --out DIR|FILE.png [--pictures N] [--steps N] [--seed N]"],
  positionals: [1, 1],
  options: {
    layer: { type: "string", value: "NAME", help: "a Conv layer, as `inspect` names it, or last" },
    channel: {
      type: "string",
      multiple: true,
      value: "C,...",
      help: "its channels; of a model that `split` wrote also the parts of those that are split",
    },
    out: { type: "string", value: "DIR|FILE.png", help: "a folder for all, or a file for the sheet alone" },
    pictures: {
      type: "string",
      value: "N",
      help: `of each channel and part, kept unlike each other (${DEFAULTS.pictures})`,
    },
    steps: { type: "string", value: "N", help: `of ascent (${DEFAULTS.steps})` },
    seed: { type: "string", value: "N", help: `of where the pictures begin (${DEFAULTS.seed})` },
    draws: { type: "string", value: "N", help: `random parts that parts are held against (${DEFAULTS.draws})` },
    ...PREPROCESS_OPTIONS,
  },
  details:
    "Gradient ascent on Fourier coefficients in decorrelated colours, the picture moved, turned and scaled a little at each step. The folder\n" +
    "gets a PNG for each picture, sheet.png, and visualisation.json: also how much each picture excites each part, in deviations of\n" +
    "random parts of the same size (docs/report.md). `unbraid report --visualisation` shows them.",
  example: "unbraid visualize split.onnx --preset imagenet --layer layer4.2.conv3 --channel 91 --out pictures",
  run,
};

/** What `report` reads. */
export interface VisualisationDocument {
  readonly layer: string;
  readonly pictures: number;
  readonly steps: number;
  readonly seed: number;
  readonly sheet: string | null;
  readonly channels: readonly {
    readonly channel: number;
    readonly concepts: readonly string[];
    readonly rows: readonly {
      /** "channel", "part 1", ... */
      readonly of: string;
      readonly concept: string | null;
      readonly pictures: readonly { readonly file: string | null; readonly response: number }[];
    }[];
    readonly excitement: readonly Excitement[];
  }[];
}

async function run(context: Context): Promise<undefined> {
  const { args, out, signal } = context;
  const path = args.required("out", "a folder, or a PNG for the sheet");
  const layerName = args.required("layer", "the layer of the channels");
  const wanted = [...new Set(args.numbers("channel", { integer: true, least: 0 }))];
  if (wanted.length === 0)
    throw usageError("OPTION_MISSING", "--channel is missing: the channels to see", "Add --channel C.");
  const count = args.number("pictures", { integer: true, least: 1, most: 64 }) ?? DEFAULTS.pictures;
  const steps = args.number("steps", { integer: true, least: 1, most: 100_000 }) ?? DEFAULTS.steps;
  const seed = args.number("seed", { integer: true, least: 0, most: 2 ** 32 }) ?? DEFAULTS.seed;
  const draws = args.number("draws", { integer: true, least: 2, most: 10_000 }) ?? DEFAULTS.draws;
  const single = path.toLowerCase().endsWith(".png");
  if (single) context.checkWritable(path);
  else context.checkFolder(path, "sheet.png", "a single picture's name ends with .png");
  const opened = openModel(context, args.positional(0));
  const network = await pictureNetwork(context, opened);
  const layer = visualizedLayer(network.shaped, splitRecords(opened.model, opened.path), layerName, wanted);

  using device = await context.openDevice();
  using session = new Session(device.gpu, opened.graph);
  const ascended = await climbAll(context, session, network, layer, { count, steps, seed });
  device.gpu.check();
  signal.throwIfAborted();

  const sheet = await pngOf(
    contactSheet(
      layer.channels.flatMap(({ channel, concepts }, c) =>
        (ascended[c]?.pictures ?? []).map((pictures, r) => ({
          caption: `channel ${channel}${r === 0 ? "" : `, part ${r}: ${concepts[r - 1] ?? ""}`}`,
          pictures,
        })),
      ),
    ),
  );
  const files: string[] = [];
  const save = (file: string, bytes: Uint8Array | string): string => {
    context.writeFile(file, bytes);
    files.push(file);
    return file;
  };
  if (!single) makeFolder(path);
  const random = new Random(seed);
  const document: VisualisationDocument = {
    ...{ layer: layer.name, pictures: count, steps, seed, sheet: single ? path : "sheet.png" },
    channels: await Promise.all(
      layer.channels.map(async (channel, c) => {
        const got = ascended[c];
        const rows = await Promise.all(
          channel.rows.map(async (_, r) => ({
            of: rowName(r),
            concept: r === 0 ? null : (channel.concepts[r - 1] ?? null),
            pictures: await Promise.all(
              (got?.pictures[r] ?? []).map(async (picture, k) => {
                const file = `channel-${channel.channel}-${rowName(r).replace(" ", "-")}-${k + 1}.png`;
                if (!single) save(join(path, file), await pngOf(picture));
                return { file: single ? null : file, response: got?.responses[r]?.[k] ?? NaN };
              }),
            ),
          })),
        );
        const matrix =
          channel.split === undefined ? [] : excitement(channel.split, got?.patches ?? [], { random, draws });
        return { channel: channel.channel, concepts: channel.concepts, rows, excitement: matrix };
      }),
    ),
  };
  save(single ? path : join(path, "sheet.png"), sheet);
  if (!single) save(join(path, "visualisation.json"), `${JSON.stringify(document, undefined, 1)}\n`);
  await out.result({ ...document, files }, describe(document, path, files.length));
  return undefined;
}

/** sharp is native code: it is loaded when it is needed. (Beside `using` an import would keep its .ts: TypeScript's fault.) */
async function pngOf(image: RgbImage): Promise<Uint8Array> {
  return await (await import("../../images/png.ts")).encodePng(image);
}

const rowName = (r: number): string => (r === 0 ? "channel" : `part ${r}`);

/** The network for images of its own or the preprocessing's size: no image is read. */
async function pictureNetwork(context: Context, opened: ReturnType<typeof openModel>): Promise<ImageNetwork> {
  try {
    return await imageNetwork(context, opened, "", [{ path: "", label: -1 }]);
  } catch (error) {
    if (!(error instanceof UnbraidError && error.code === "IMAGE_UNREADABLE")) throw error;
    throw usageError("OPTION_MISSING", "nobody says how large the network's images are", "Pass --crop N.");
  }
}

async function climbAll(
  context: Context,
  session: Session,
  network: ImageNetwork,
  { layer, geometry, channels }: VisualizedLayer,
  { count, steps, seed }: { readonly count: number; readonly steps: number; readonly seed: number },
): Promise<Ascended[]> {
  // As many channels together as memory takes: a batch costs less than its images one by one.
  const groups: (readonly VisualizedChannel[])[] = [];
  for (const channel of channels) {
    const last = groups.at(-1) ?? [];
    const rows = [...last, channel].reduce((n, c) => n + c.rows.length, 0);
    if (last.length > 0 && rows * count <= AT_ONCE) groups[groups.length - 1] = [...last, channel];
    else groups.push([channel]);
  }
  const progress = new Progress(context.out, "steps", groups.length * steps);
  const done: Ascended[] = [];
  for (const [g, group] of groups.entries()) {
    const all = await ascend({
      ...{ session, layer, geometry, input: network.classifier.input, imageShape: network.imageShape },
      preprocess: network.spec,
      rows: group.flatMap(({ rows }) => rows),
      ...{ pictures: count, steps, seed: seed + g },
      onProgress: (step) => {
        progress.update(g * steps + step);
      },
      signal: context.signal,
    });
    let first = 0;
    for (const { rows } of group) {
      const of = <T>(list: readonly T[]): T[] => list.slice(first, first + rows.length);
      done.push({ pictures: of(all.pictures), responses: of(all.responses), patches: of(all.patches) });
      first += rows.length;
    }
  }
  return done;
}

function describe({ channels }: VisualisationDocument, path: string, files: number): string {
  const matrices = channels.flatMap(({ channel, concepts, rows, excitement: cells }) =>
    cells.length === 0
      ? []
      : [
          `channel ${channel}: response of each part to each picture, in deviations of random parts of its size\n` +
            table(
              ["pictures of", ...concepts.map((name, k) => `part ${k + 1}: ${name}`)],
              rows.map(({ of, concept }, r) => [
                concept === null ? of : `${of}: ${concept}`,
                ...cells.filter((cell) => cell.pictures_of === r).map((cell) => cell.excess.value.toFixed(2)),
              ]),
            ),
        ],
  );
  return `${matrices.join("")}${path}: ${files} file${files === 1 ? "" : "s"}\n`;
}
