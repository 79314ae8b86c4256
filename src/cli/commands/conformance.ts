/** `unbraid conformance`: ONNX's own backend test cases. */
import { UnbraidError } from "../../errors.ts";
import { CHECK_FAILED, type Command } from "../command.ts";
import { findCases, runCase, type CaseResult } from "../conformance.ts";
import type { Context, Device } from "../context.ts";
import { Progress } from "../progress.ts";
import { table } from "../table.ts";

export const conformance: Command = {
  name: "conformance",
  summary: "runs ONNX backend test cases: pass, fail, unsupported, each with a reason",
  usage: ["conformance DIR [--filter REGEX]"],
  positionals: [1, 1],
  options: {
    filter: { type: "string", value: "REGEX", help: "only cases whose path matches" },
  },
  details:
    "DIR holds folders with model.onnx and test_data_set_*/input_*.pb, output_*.pb, at any depth, as\n" +
    "onnx/backend/test/data of ONNX's repository does. Outputs are compared as ONNX's own\n" +
    `runner does: within 1e-3 relative plus 1e-7. Exit code ${CHECK_FAILED} where a case fails; unsupported ones do not count.`,
  example: "unbraid conformance onnx-tests/node --filter 'test_conv'",
  run,
};

async function run(context: Context): Promise<number> {
  const { args, out, signal } = context;
  const dir = args.positional(0);
  const cases = filtered(findCases(dir), args.text("filter"));
  const progress = new Progress(out, "cases", cases.length);
  const results: CaseResult[] = [];
  let device: Device | undefined;
  try {
    for (const name of cases) {
      signal.throwIfAborted();
      device ??= await context.openDevice();
      const result = await runOne(device, dir, name);
      if (result.broken) {
        device[Symbol.dispose]();
        device = undefined;
      }
      results.push(result.case);
      out.event("case", { ...result.case });
      progress.update(results.length);
    }
  } finally {
    device?.[Symbol.dispose]();
  }
  const count = (status: CaseResult["status"]): number => results.filter((r) => r.status === status).length;
  const counts = { pass: count("pass"), fail: count("fail"), unsupported: count("unsupported") };
  await out.result({ ...counts, cases: results }, describe(results, counts));
  return counts.fail > 0 ? CHECK_FAILED : 0;
}

/** A case that breaks the device fails, and the next one gets a new device. */
async function runOne(device: Device, dir: string, name: string): Promise<{ case: CaseResult; broken: boolean }> {
  try {
    const result = await runCase(device.gpu, dir, name);
    device.gpu.check();
    return { case: result, broken: false };
  } catch (error) {
    if (!(error instanceof UnbraidError)) throw error;
    const reason = `${error.code}: ${error.message}`;
    return { case: { name, status: "fail", reason, max_abs_diff: null }, broken: true };
  }
}

function filtered(cases: readonly string[], pattern: string | undefined): readonly string[] {
  if (pattern === undefined) return cases;
  let regex: RegExp;
  try {
    regex = new RegExp(pattern);
  } catch (cause) {
    throw new UnbraidError("usage", "OPTION_VALUE", `--filter ${pattern} is not a regular expression`, "Correct it.", {
      cause,
    });
  }
  const kept = cases.filter((name) => regex.test(name));
  if (kept.length > 0) return kept;
  throw new UnbraidError(
    "input",
    "CONFORMANCE_NONE",
    `none of ${cases.length} cases matches --filter ${pattern}`,
    "Leave --filter out to see their names.",
  );
}

function describe(
  results: readonly CaseResult[],
  { pass, fail, unsupported }: { pass: number; fail: number; unsupported: number },
): string {
  const shown = results.filter((r) => r.status !== "pass");
  const rows = shown.map((r) => [r.status, r.name, r.reason]);
  return (
    (rows.length === 0 ? "" : table(["status", "case", "reason"], rows)) +
    `${pass} passed, ${fail} failed, ${unsupported} unsupported\n`
  );
}
