/** A small report with everything in it. */
import type { ReportData } from "../../src/report/data.ts";
import { png } from "../images/support.ts";

const doubles = (values: readonly number[]): string => Buffer.from(Float64Array.from(values).buffer).toString("base64");
const floats = (values: readonly number[]): string => Buffer.from(Float32Array.from(values).buffer).toString("base64");

export const CONCEPTS = ["panda", "rocket"] as const;

/** Four inputs: 0 and 1 answer to the first concept, 2 to the second, 3 to both. Three images of each. */
export const ARVS = [
  [4, 2, 0.5, 1],
  [0.5, 0.2, 5, 1],
] as const;
export const CONTRIBUTIONS = [
  [4, 2, 0.4, 1],
  [5, 1, 0.6, 1.2],
  [3, 3, 0.5, 0.8],
  [0.4, 0.3, 5, 1],
  [0.6, 0.1, 6, 0.9],
  [0.5, 0.2, 4, 1.1],
] as const;

/** @param name of the first class, the picture files and everything else that strangers name */
export async function sampleReport(name: string): Promise<ReportData> {
  const src = async (shade: number): Promise<string> => {
    const pixels = Uint8Array.from({ length: 192 }, (_, k) => [shade, 90, 255 - shade][k % 3] ?? 0);
    return `data:image/png;base64,${(await png(pixels, 8, 8)).toString("base64")}`;
  };
  const pictures = await Promise.all(
    CONTRIBUTIONS.map(async (_, n) => ({
      name: `${name} ${n}`,
      class: n < 3 ? name : CONCEPTS[1],
      src: await src(n * 40),
      width: 8,
      height: 8,
    })),
  );
  return {
    version: 1,
    title: `Channels of ${name}`,
    findings: [`Channel 7 answers to ${name}`],
    command: `unbraid report --title '${name}'`,
    unbraid: "0.0.0",
    adapter: name,
    layer: name,
    inputs: [{ what: "model", file: name, sha256: "ab".repeat(32) }],
    proof: {
      caption: "Proof",
      columns: ["what", "value"],
      rows: [
        ["flips", 0],
        ["ratio", { value: 0.01, n: 6 }],
      ],
    },
    proofSentence: name,
    map: [
      { layer: name, channels: 8, polysemantic: 0, expected: 0.1 },
      { layer: "last", channels: 16, polysemantic: 2 },
    ],
    similarity: {
      hierarchy: name,
      points: [
        [0.1, 0.2],
        [0.9, 0.4],
      ],
      spearman: { value: 0.5, n: 2 },
      p: 0.5,
    },
    channels: [
      {
        channel: 7,
        why: name,
        concepts: [name, CONCEPTS[1]],
        summary: name,
        points: [name],
        rule: "symmetric",
        interactive: {
          concepts: [name, CONCEPTS[1]],
          rule: "symmetric",
          inputs: 4,
          arvs: doubles(ARVS.flat()),
          concept: [0, 0, 0, 1, 1, 1],
          picture: [0, 1, 2, 3, 4, 5],
          contributions: floats(CONTRIBUTIONS.flat()),
          rho: 0.5,
          firstInput: 0,
        },
        tables: [
          { caption: name, columns: [name, "value"], rows: [[name, { value: 1, low: 0, high: 2, n: 3 }]], note: name },
        ],
        galleries: [
          {
            title: name,
            measure: name,
            items: [{ picture: 0, value: 1, crop: { x: 2, y: 2, width: 4, height: 4 }, heat: await src(3) }],
          },
        ],
      },
    ],
    pictures,
    credits: [name],
  };
}

/** A third class of two images, whose input 3 is its own. */
export async function threeConcepts(): Promise<ReportData> {
  const data = await sampleReport("panda");
  const [channel] = data.channels;
  const live = channel?.interactive;
  if (channel === undefined || live === undefined) throw new Error("the sample has a live channel");
  const more = [
    [0.1, 0.2, 0.1, 3],
    [0.2, 0.1, 0.3, 4],
    [0.3, 0.2, 0.1, 5],
  ];
  const interactive = {
    ...live,
    concepts: ["panda", "rocket", "tulip"],
    arvs: doubles([...ARVS.flat(), 0.2, 0.2, 0.2, 4]),
    concept: [...live.concept, 2, 2, 2],
    picture: [...live.picture, 0, 1, 2],
    contributions: floats([...CONTRIBUTIONS.flat(), ...more.flat()]),
  };
  return { ...data, channels: [{ ...channel, concepts: interactive.concepts, interactive }] };
}

/** Parts of any weights: three quarters of everything, and a quarter. */
export async function additiveReport(): Promise<ReportData> {
  const data = await sampleReport("panda");
  const [channel] = data.channels;
  const live = channel?.interactive;
  if (channel === undefined || live === undefined) throw new Error("the sample has a live channel");
  const { rho, ...rest } = live;
  if (rho === undefined) throw new Error("the sample has a rho");
  const all = CONTRIBUTIONS.flat();
  const interactive = {
    ...rest,
    rule: "additive",
    parts: [floats(all.map((r) => 0.75 * r)), floats(all.map((r) => 0.25 * r))],
  };
  return { ...data, channels: [{ ...channel, rule: "additive", interactive }] };
}
