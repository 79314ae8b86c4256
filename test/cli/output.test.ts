import { afterEach, describe, expect, it, vi } from "vitest";
import { Output, type Streams } from "../../src/cli/output.ts";
import { Progress, showSeconds } from "../../src/cli/progress.ts";
import { showBytes, table } from "../../src/cli/table.ts";
import { UnbraidError } from "../../src/errors.ts";
import { Kept } from "./support.ts";

function output(options: { json?: boolean; quiet?: boolean; tty?: boolean } = {}): {
  out: Output;
  stdout: Kept;
  stderr: Kept;
} {
  const [stdout, stderr] = [new Kept(), new Kept(options.tty ?? false)];
  return {
    out: new Output({ stdout, stderr }, { json: options.json ?? false, quiet: options.quiet ?? false }),
    stdout,
    stderr,
  };
}

afterEach(() => {
  vi.unstubAllEnvs();
});

const error = new UnbraidError("input", "SOME_CODE", "what is wrong", "What to do.");

describe("output", () => {
  it("prints results as text or as one JSON document", async () => {
    const text = output();
    await text.out.result({ a: 1 }, "one\n");
    expect(text.stdout.text).toBe("one\n");
    const json = output({ json: true });
    await json.out.result({ a: 1 }, "one\n");
    expect(JSON.parse(json.stdout.text)).toEqual({ a: 1 });
    expect(json.stderr.text).toBe("");
  });

  it("prints errors on stderr, or with --json on stdout", async () => {
    const text = output();
    await text.out.error(error);
    expect([text.stdout.text, text.stderr.text]).toEqual(["", "error SOME_CODE: what is wrong\n  What to do.\n"]);
    const json = output({ json: true });
    await json.out.error(error);
    expect(JSON.parse(json.stdout.text)).toEqual({
      error: { code: "SOME_CODE", message: "what is wrong", remedy: "What to do." },
    });
  });

  it("colours on a terminal only, and not with NO_COLOR", async () => {
    vi.stubEnv("TERM", "xterm");
    vi.stubEnv("NO_COLOR", "");
    const colour = output({ tty: true });
    await colour.out.error(error);
    expect(colour.stderr.text).toContain("\u001b[31m");
    vi.stubEnv("NO_COLOR", "1");
    const plain = output({ tty: true });
    await plain.out.error(error);
    expect(plain.stderr.text).not.toContain("\u001b");
  });

  it("--quiet leaves out notes, not warnings", () => {
    const { out, stderr } = output({ quiet: true });
    out.note("a note");
    out.warn("a warning");
    expect(stderr.text).toBe("warning: a warning\n");
  });

  it("says why stdout cannot be written", async () => {
    const full: Streams = {
      stdout: {
        write: (_, done) => {
          done?.(Object.assign(new Error("no space left"), { code: "ENOSPC" }));
          return true;
        },
      },
      stderr: new Kept(),
    };
    const out = new Output(full, { json: false, quiet: false });
    await expect(out.data("x")).rejects.toMatchObject({ kind: "output", code: "DISK_FULL" });
  });
});

describe("progress", () => {
  /** Reports of 100 updates, 400 ms apart, of 200 images. */
  function reports(options: Parameters<typeof output>[0]): string {
    const { out, stderr } = output(options);
    let now = 0;
    const progress = new Progress(out, "images", 200, 0, () => now);
    for (let k = 1; k <= 100; k++) {
      now = 400 * k;
      progress.update(2 * k);
    }
    return stderr.text;
  }

  it("rewrites one line on a terminal", () => {
    vi.stubEnv("TERM", "xterm");
    const text = reports({ tty: true });
    expect(text).not.toContain("\n");
    expect(text.split("\r").length).toBe(101);
    expect(text).toContain("100/200 images, 5.00 a second, 20 s left");
  });

  it("prints a line now and then off a terminal", () => {
    expect(reports({})).toBe(
      "26/200 images, 5.00 a second, 35 s left\n102/200 images, 5.00 a second, 20 s left\n178/200 images, 5.00 a second, 5 s left\n",
    );
  });

  it("gives events with --json, and nothing with --quiet", () => {
    const events = reports({ json: true }).trim().split("\n");
    expect(events.length).toBe(34);
    expect(JSON.parse(events[0] ?? "")).toEqual({
      event: "progress",
      unit: "images",
      done: 2,
      total: 200,
      images_per_second: 5,
      seconds_left: 39.6,
    });
    expect(reports({ quiet: true })).toBe("");
    expect(reports({ quiet: true, json: true })).toBe("");
  });

  it("shows durations and sizes for people", () => {
    expect([0.2, 59, 61, 3600 * 2.5].map(showSeconds)).toEqual(["1 s", "59 s", "1 min 1 s", "2 h 30 min"]);
    expect([0, 900, 1536, 2 ** 30].map(showBytes)).toEqual(["0 B", "900 B", "1.5 KiB", "1 GiB"]);
    expect(
      table(
        ["a", "bb"],
        [
          ["x", 1],
          ["longer", 22],
        ],
      ),
    ).toBe("a       bb\nx        1\nlonger  22\n");
  });
});
