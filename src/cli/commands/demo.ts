/** `unbraid demo`: all of it on the network and the images that ship with the package. */
import { existsSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { UnbraidError } from "../../errors.ts";
import type { Command } from "../command.ts";
import type { Context, Device } from "../context.ts";
import { chooseForDemo, type Choice, type FoundPair } from "../demo-choice.ts";
import { MARK, prepareFolder } from "../demo-folder.ts";
import { Steps } from "../demo-steps.ts";
import { evaluate } from "./evaluate.ts";
import { find } from "./find.ts";
import { report } from "./report.ts";
import { split } from "./split.ts";
import { study } from "./study.ts";
import { verify } from "./verify.ts";
import { visualize } from "./visualize.ts";

const FOLDER = "unbraid-demo";
/** Channels that are split by evidence: the best that the guards let pass is shown. */
const SUREST = 6;
const SEED = 1;

/** How much is done, by how fast the adapter is: SwiftShader is about a tenth of lavapipe. */
interface Effort {
  readonly layers: string;
  readonly verified: number;
  readonly sample: number;
  readonly ablations: number;
  readonly gallery: number;
  readonly pictures: number;
  readonly steps: number;
}

const LAST = "layer3.2.conv3";
const FULL: Effort = {
  layers: `conv1,layer1.0.conv2,layer1.1.conv3,layer2.0.conv2,layer2.1.conv3,layer2.2.conv3,layer3.0.conv3,layer3.1.conv3,${LAST}`,
  ...{ verified: 2, sample: 200, ablations: 3, gallery: 400, pictures: 2, steps: 48 },
};
const SMALL: Effort = {
  // The gradient need not go far back: half of the study's time.
  layers: `layer3.0.conv3,layer3.1.conv3,${LAST}`,
  ...{ verified: 1, sample: 60, ablations: 1, gallery: 100, pictures: 2, steps: 16 },
};

export const demo: Command = {
  name: "demo",
  summary: "all of it on the network and the images that ship with the package, ending in a report to look at",
  usage: ["demo [--out DIR] [--quick]"],
  positionals: [0, 0],
  options: {
    out: { type: "string", value: "DIR", help: `the folder for everything that is made (${FOLDER})` },
    quick: { type: "boolean", help: "less of everything, as on slow adapters" },
    seed: { type: "string", value: "N", help: `of what is drawn by lot (${SEED})` },
  },
  details:
    "Studies 1,000 pictures of emoji, finds channels that answer to unlike things, splits the surest and one drawn by lot, verifies and evaluates\n" +
    "the split on other pictures, makes pictures that excite its parts, and writes report.html. Each step is a command that you could type.",
  example: "unbraid demo --out try",
  run,
};

interface SplitJson {
  readonly layer: string;
  readonly parts: readonly {
    readonly channel: number;
    readonly concepts: readonly string[];
    readonly forced?: boolean;
  }[];
}

async function run(context: Context): Promise<undefined> {
  try {
    await demonstrate(context);
    return;
  } catch (error) {
    if (!(error instanceof UnbraidError && error.code === "INTERRUPTED")) throw error;
    // Its steps would be resumed with options that the demo does not have.
    throw new UnbraidError("interrupted", "INTERRUPTED", "the demo was interrupted", "Run it again: it begins anew.", {
      cause: error,
    });
  }
}

async function demonstrate(context: Context): Promise<undefined> {
  const began = performance.now();
  const { args, out } = context;
  const folder = args.text("out") ?? FOLDER;
  const seed = args.number("seed", { integer: true, least: 0, most: 2 ** 32 }) ?? SEED;
  const models = shipped();
  prepareFolder(folder);
  const at = (name: string): string => join(folder, name);
  const keep = (name: string, value: unknown): string => {
    context.writeFile(at(name), `${JSON.stringify(value, undefined, 1)}\n`);
    return at(name);
  };
  keep(MARK, { version: 1, complete: false });
  using device = await context.openDevice();
  const steps = new Steps(context, device);
  const effort = args.flag("quick") ? SMALL : effortOf(device);
  const [model, train, val] = [models("demo.onnx"), models("images/train"), models("images/val")];

  const studyPath = at("all.study");
  await steps.run(study, [model, "--images", train, "--layer", effort.layers, "--out", studyPath]);
  const found = await steps.run<{ layers: unknown; pairs: FoundPair[] }>(find, [studyPath, "--all"]);
  const { choice, shown } = choose(found, seed);
  const findings = keep("find.json", { layers: found.layers });
  context.writeFile(at("pairs.csv"), pairsCsv(shown));
  const splitPath = at("split.onnx");
  const made = await steps.run<SplitJson>(split, [
    ...[model, "--study", studyPath, "--layer", LAST, "--pairs", at("pairs.csv"), "--images", train],
    ...["--rule", "symmetric", "--force", "--out", splitPath],
  ]);
  const [best, random] = theTwo(choice, made);
  const verification = keep(
    "verification.json",
    await steps.run(verify, [model, splitPath, "--images", val, "--limit", String(effort.verified)]),
  );
  const two = [...new Set([best.channel, ...(random === undefined ? [] : [random.channel])])].flatMap((c) => ["--channel", String(c)]); // prettier-ignore
  const evaluation = at("evaluation.json");
  await steps.run(evaluate, [
    ...[splitPath, "--images", val, "--study", studyPath, "--hierarchy", models("demo.hierarchy.json"), ...two],
    ...["--sample", String(effort.sample), "--ablations", String(effort.ablations), "--out", evaluation],
  ]);
  await steps.run(visualize, [
    ...[splitPath, "--layer", LAST, ...two, "--pictures", String(effort.pictures), "--steps", String(effort.steps)],
    ...["--out", at("pictures")],
  ]);
  const html = at("report.html");
  const remarks = [
    ["--remark", `${best.channel}=the best by calibrated evidence`],
    ...(random === undefined ? [] : [["--remark", `${random.channel}=drawn by lot`]]),
  ].flat();
  const result = await steps.run<{ findings: string[]; bytes: number }>(report, [
    ...[splitPath, "--study", studyPath, "--images", val, ...two, "--evaluation", evaluation],
    ...["--verification", verification, "--visualisation", at("pictures/visualisation.json"), "--findings", findings],
    ...[
      "--hierarchy",
      models("demo.hierarchy.json"),
      "--credits",
      models("NOTICE"),
      "--sample",
      String(effort.gallery),
    ],
    ...[...remarks, "--title", "What the channels of a small network answer to", "--out", html],
  ]);
  const json = {
    version: 1,
    complete: true,
    report: html,
    bytes: result.bytes,
    folder,
    layer: LAST,
    found: result.findings,
    best: describePair(best),
    random: random === undefined ? null : describePair(random),
    adapter: device.adapter.name,
    seconds: (performance.now() - began) / 1000,
    steps: steps.done,
  };
  keep(MARK, json);
  await out.result(
    json,
    `\n${result.findings.map((line) => `${line}\n`).join("")}\n${json.seconds.toFixed(0)} s. Open this file in a browser: ${html}\n`,
  );
  return undefined;
}

/** @throws UnbraidError DEMO_FILES */
function shipped(): (name: string) => string {
  const models = fileURLToPath(new URL("../../../models", import.meta.url));
  // Paths that can be typed, where the package lies below the folder that the demo is run in.
  const below = relative(process.cwd(), models);
  const root = below.startsWith("..") ? models : below;
  for (const name of ["demo.onnx", "images/train", "images/val"])
    if (!existsSync(join(models, name)))
      throw new UnbraidError(
        "input",
        "DEMO_FILES",
        `${join(models, name)} is missing: the demo's network and images ship with the package`,
        "Install the package again.",
      );
  return (name) => join(root, name);
}

const effortOf = ({ adapter }: Device): Effort => (adapter.software && adapter.kind !== "lavapipe" ? SMALL : FULL);

function choose(
  { pairs }: { readonly pairs: readonly FoundPair[] },
  seed: number,
): { choice: Choice; shown: FoundPair[] } {
  const own = pairs.filter(({ layer }) => layer === LAST);
  const significant = own.filter((p) => (p as { significant?: boolean | null }).significant === true);
  const choice = chooseForDemo(significant, own, SUREST, seed);
  const shown = [...choice.surest, ...(choice.random === undefined ? [] : [choice.random])];
  if (shown.length > 0) return { choice, shown };
  throw new UnbraidError(
    "input",
    "PAIRS_NONE",
    `no channel of ${LAST} is relevant for two classes`,
    "The demo's files are not what they were: install the package again.",
  );
}

/** The surest that the guards let pass, or the surest; and the one drawn by lot. */
function theTwo({ surest, random }: Choice, { parts }: SplitJson): [FoundPair, FoundPair | undefined] {
  const passes = ({ channel }: FoundPair): boolean => parts.find((p) => p.channel === channel)?.forced !== true;
  const best = surest.find(passes) ?? surest[0] ?? random;
  if (best === undefined) throw new Error("internal error: no channel to show");
  return [best, best === random ? undefined : random];
}

const describePair = (p: FoundPair) => ({
  channel: p.channel,
  concepts: [p.class1_name, p.class2_name],
  cosine_similarity: p.cosine_similarity,
  q_value: p.significance?.q_value ?? null,
});

const pairsCsv = (pairs: readonly FoundPair[]): string =>
  [
    "channel,class1,class2,cosine_similarity",
    ...pairs.map((p) => [p.channel, p.class1, p.class2, p.cosine_similarity ?? ""].join(",")),
    "",
  ].join("\n");
