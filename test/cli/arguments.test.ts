import { describe, expect, it } from "vitest";
import { parseCsv } from "../../src/cli/targets.ts";
import { errorOf, unbraid } from "./support.ts";

const COMMANDS = ["doctor", "inspect", "run", "classify", "conformance", "study", "merge", "find", "split", "verify"];

describe("the command line", () => {
  it("lists the commands, and shows each one's options and an example", async () => {
    const help = await unbraid("--help");
    expect(help.code).toBe(0);
    for (const name of COMMANDS) {
      expect(help.stdout).toContain(`\n  ${name} `);
      const own = await unbraid(name, "--help");
      expect([name, own.code, own.stderr]).toEqual([name, 0, ""]);
      // Behind what an example needs first.
      expect(own.stdout).toMatch(new RegExp(`Example\\n(  unbraid .*\\n)*  unbraid ${name}`));
      expect((await unbraid("help", name)).stdout).toBe(own.stdout);
    }
  });

  it("knows its version", async () => {
    expect(await unbraid("--version")).toEqual({
      code: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) as string,
      stderr: "",
    });
  });

  it("asked for nothing prints the help on stderr and fails", async () => {
    const ran = await unbraid();
    expect([ran.code, ran.stdout]).toEqual([2, ""]);
    expect(ran.stderr).toContain("Usage: unbraid COMMAND");
  });

  it("names the nearest command and option", async () => {
    expect(await errorOf("stduy")).toMatchObject({
      exit: 2,
      code: "COMMAND_UNKNOWN",
      remedy: expect.stringContaining("study") as string,
    });
    expect(await errorOf("inspect", "x.onnx", "--crpo", "3")).toMatchObject({
      exit: 2,
      code: "OPTION_UNKNOWN",
      message: "`unbraid inspect` has no option --crpo",
      remedy: expect.stringContaining("--crop") as string,
    });
    expect(await errorOf("--taus", "3")).toMatchObject({ exit: 2, code: "COMMAND_UNKNOWN" });
    expect(await errorOf("--taus")).toMatchObject({ exit: 2, code: "COMMAND_MISSING" });
  });

  it.each([
    [["inspect"], "ARGUMENTS_MISSING"],
    [["inspect", "a", "b"], "ARGUMENTS_TOO_MANY"],
    [["inspect", "a", "--crop"], "OPTION_VALUE"],
    [["study", "a", "--out", "--resume"], "OPTION_VALUE"],
    [["study", "a", "--resume=yes"], "OPTION_VALUE"],
    [["study", "a", "--out", "x", "--out", "y"], "OPTION_TWICE"],
    [["study", "a"], "OPTION_MISSING"],
    [["find", "a", "--csv", "-"], "OPTION_CONFLICT"],
  ])("refuses %j with %s", async (argv, code) => {
    expect(await errorOf(...argv)).toMatchObject({ exit: 2, code });
  });

  it("takes options of all commands before the command too", async () => {
    expect((await unbraid("--quiet", "inspect", "--help")).code).toBe(0);
  });
});

describe("parseCsv", () => {
  it("reads quoted cells, line ends of all kinds and empty cells", () => {
    expect(parseCsv('a,b\r\n"x, ""y""",2\n\n3,\n,4')).toEqual([
      ["a", "b"],
      ['x, "y"', "2"],
      ["3", ""],
      ["", "4"],
    ]);
  });
});
