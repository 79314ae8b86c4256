/** `--workers`: the same results from any number of threads, and no command that waits for one that is gone. */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { testAdapters } from "../support/gpu.ts";
import { build, unbraidProcess, type Ended } from "./built.ts";
import { errorOf, temporaryFolder, write, writeClassifier, writeImages, type ErrorJson } from "./support.ts";

const dir = temporaryFolder();
const model = join(dir, "net.onnx");
const images = join(dir, "images");
const adapter = ["--adapter", testAdapters[0] ?? ""];

beforeAll(async () => {
  build();
  writeClassifier(model);
  write(join(dir, "net.preprocess.json"), "{}");
  await writeImages(images, 60);
}, 120_000);

const studyTo = (out: string, ...rest: string[]): string[] => [
  ...["study", model, "--images", images, "--layer", "all", "--out", join(dir, out), "--json"],
  ...adapter,
  ...rest,
];

/** Threads run `code`, ahead of their own script, when their first image comes. */
function inThreads(code: string): string {
  const hook = `const { isMainThread, parentPort } = require("node:worker_threads");
    if (!isMainThread) parentPort.once("message", () => { ${code} });`;
  return `--require=${write(join(dir, "hook.cjs"), hook)}`;
}

const errorIn = ({ stdout }: Ended) => (JSON.parse(stdout) as ErrorJson).error;

it("--workers is a whole number from 0", async () => {
  for (const value of ["-1", "1.5", "many", "65"])
    expect(await errorOf(...studyTo("none.study", "--workers", value))).toMatchObject({
      code: "OPTION_VALUE",
      exit: 2,
    });
});

describe.skipIf(testAdapters.length === 0)("with an adapter", () => {
  it("a study has the same bytes from any number of threads", async () => {
    const ran: Ended[] = [];
    for (const n of ["0", "1", "3"]) ran.push(await unbraidProcess(studyTo(`${n}.study`, "--workers", n)));
    expect(ran.map((r) => r.end)).toEqual([0, 0, 0]);
    const whole = readFileSync(join(dir, "0.study"));
    for (const n of ["1", "3"]) expect(readFileSync(join(dir, `${n}.study`)).equals(whole)).toBe(true);
  });

  it("a broken image ends it with the same error as in the main thread, and --skip-bad goes on without it", async () => {
    const broken = write(join(images, "boat", "3b.png"), "no image");
    const [main, thread] = [
      await unbraidProcess(studyTo("broken.study", "--workers", "0")),
      await unbraidProcess(studyTo("broken.study", "--workers", "2")),
    ];
    expect([main.end, thread.end]).toEqual([3, 3]);
    expect(errorIn(thread)).toEqual(errorIn(main));
    expect(errorIn(thread).message).toContain("boat/3b.png");
    const skipped = await unbraidProcess(studyTo("broken.study", "--workers", "2", "--skip-bad"));
    rmSync(broken);
    expect(skipped.end).toBe(0);
    expect(JSON.parse(skipped.stdout)).toMatchObject({ images: 240, skipped: [{ image: "boat/3b.png" }] });
  });

  it.each([
    ["that ends by itself", "process.exit(7)", "", /exit code 7/],
    ["that fails", 'throw new Error("broken thread")', "", /broken thread/],
    ["out of memory", "for (const a = []; ; ) a.push(new Array(1e5).fill(0.5))", "--max-old-space-size=100 ", /memory/],
  ])("a thread %s ends the command with an error", async (_, code, options, why) => {
    const env = { NODE_OPTIONS: options + inThreads(code) };
    const ran = await unbraidProcess(studyTo("dead.study", "--workers", "2"), undefined, env);
    expect(ran.end).toBe(3);
    expect(errorIn(ran)).toMatchObject({ code: "IMAGE_WORKER" });
    expect(errorIn(ran).message).toMatch(why);
    expect(errorIn(ran).message).toMatch(/apple\/\d+\.png/);
    expect(errorIn(ran).remedy).toContain("--workers");
  });

  it("ctrl-C before the first image is an interruption like any other", async () => {
    // A study covers what its images throw with the interruption itself; this command does not.
    const classify = ["classify", model, join(images, "apple"), "--json", ...adapter, "--workers", "2", "--batch", "1"];
    let sent = false;
    const stopped = await unbraidProcess(classify, (child, stderr) => {
      if (sent || !stderr.includes('"adapter"')) return;
      sent = true;
      child.kill("SIGINT");
    });
    expect([stopped.end, errorIn(stopped).code]).toEqual([130, "INTERRUPTED"]);
  });

  it("ctrl-C ends the threads with the command, which --resume continues", async () => {
    let sent = false;
    const stopped = await unbraidProcess(
      studyTo("stopped.study", "--workers", "2", "--batch", "1"),
      (child, stderr) => {
        if (sent || !stderr.includes('"progress"')) return;
        sent = true;
        child.kill("SIGINT");
      },
    );
    expect([stopped.end, errorIn(stopped).code]).toEqual([130, "INTERRUPTED"]);
    const rest = ["--workers", "2", "--batch", "1", "--resume"];
    expect((await unbraidProcess(studyTo("stopped.study", ...rest))).end).toBe(0);
    expect((await unbraidProcess(studyTo("whole.study", "--batch", "1"))).end).toBe(0);
    expect(readFileSync(join(dir, "stopped.study")).equals(readFileSync(join(dir, "whole.study")))).toBe(true);
  });
});
