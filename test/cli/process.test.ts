/** The command line as a process: exit codes, pipes, ctrl-C, and that nothing keeps Node from ending. */
import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { testAdapters } from "../support/gpu.ts";
import { build, root, unbraidProcess } from "./built.ts";
import { temporaryFolder, write, writeClassifier, writeImages } from "./support.ts";

const dir = temporaryFolder();
const model = join(dir, "net.onnx");
const images = join(dir, "images");

beforeAll(async () => {
  build();
  writeClassifier(model);
  write(join(dir, "net.preprocess.json"), "{}");
  await writeImages(images, 60);
}, 120_000);

/** bash, with the exit code of the first program of a pipe. */
function shell(command: string): Promise<{ code: number; stderr: string }> {
  return new Promise((resolve) => {
    const line = `${command}; exit \${PIPESTATUS[0]}`;
    execFile("bash", ["-c", line], { cwd: root, env: { ...process.env, MODEL: model } }, (error, _, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stderr });
    });
  });
}

describe("as a process", () => {
  it("data on stdout, errors on stderr, exit codes by kind", async () => {
    const help = await unbraidProcess(["--help"]);
    expect([help.end, help.stderr]).toEqual([0, ""]);
    expect(help.stdout).toContain("Commands");
    const none = await unbraidProcess(["inspect", join(dir, "none.onnx")]);
    expect([none.end, none.stdout]).toEqual([4, ""]);
    expect(none.stderr).toMatch(/^error MODEL_UNREADABLE: .*\n {2}\S.*\n$/);
    expect((await unbraidProcess(["inspekt"])).end).toBe(2);
  });

  it("a reader that goes away ends it without a word", async () => {
    expect(await shell('node bin/unbraid.mjs inspect "$MODEL" --json | true')).toEqual({ code: 141, stderr: "" });
  });

  it.skipIf(!existsSync("/dev/full"))("a full disk under stdout is an error", async () => {
    const { code, stderr } = await shell('node bin/unbraid.mjs inspect "$MODEL" > /dev/full');
    expect(code).toBe(8);
    expect(stderr).toContain("DISK_FULL");
  });
});

describe.skipIf(testAdapters.length === 0)("with an adapter", () => {
  const adapter = ["--adapter", testAdapters[0] ?? ""];
  const studyTo = (out: string): string[] => [
    ...["study", model, "--images", images, "--layer", "all", "--out", out, "--batch", "1"],
    ...adapter,
  ];

  it("ends by itself, with exit code 0", async () => {
    const ran = await unbraidProcess(["classify", model, join(images, "cat", "0.png"), ...adapter]);
    expect(ran.end).toBe(0);
    expect(ran.stdout).toContain("%");
    expect(ran.stderr).toContain("a software adapter");
  });

  it("ctrl-C leaves a study that --resume continues to the very same result", async () => {
    const out = join(dir, "stopped.study");
    let sent = false;
    const stopped = await unbraidProcess([...studyTo(out), "--json"], (child, stderr) => {
      if (sent || !stderr.includes('"progress"')) return;
      sent = true;
      child.kill("SIGINT");
    });
    expect(stopped.end).toBe(130);
    expect(JSON.parse(stopped.stdout)).toMatchObject({ error: { code: "INTERRUPTED" } });
    const early = readFileSync(out).length;
    const resumed = await unbraidProcess([...studyTo(out), "--resume", "--json"]);
    expect(resumed.end).toBe(0);
    const { images: all, images_this_run: now } = JSON.parse(resumed.stdout) as Record<string, number>;
    expect([all, (now ?? 0) > 0, (now ?? 0) < 240, early > 0]).toEqual([240, true, true, true]);
    const whole = join(dir, "whole.study");
    expect((await unbraidProcess(studyTo(whole))).end).toBe(0);
    expect(readFileSync(out).equals(readFileSync(whole))).toBe(true);
  });

  it("a second ctrl-C ends it at once", async () => {
    let sent = 0;
    const ran = await unbraidProcess([...studyTo(join(dir, "killed.study")), "--json"], (child, stderr) => {
      if (sent === 0 && stderr.includes('"progress"')) {
        sent = 1;
        child.kill("SIGINT");
        child.kill("SIGTERM");
      }
    });
    expect(["SIGTERM", "SIGINT"]).toContain(ran.end);
  });
});
