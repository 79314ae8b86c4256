// Writes docs/features.md from the table of operators (dist) and the last conformance run (docs/conformance.json,
// made by tools/conformance/summary.py). `npm run build && node scripts/features.mjs`
import { readFileSync, writeFileSync } from "node:fs";
import { operators } from "../dist/kernels/table.js";

const run = JSON.parse(readFileSync(new URL("../docs/conformance.json", import.meta.url), "utf8"));

/** What a reader must know beyond the two ticks. */
const HOST = "on the host: what it reads must not depend on the network's input";
const NOTES = {
  ArgMax: "positions are exact to 2^24",
  ArgMin: "positions are exact to 2^24",
  AveragePool: "1 to 3 spatial axes",
  BatchNormalization:
    "inference, and training mode from opset 14 on; folded into a Conv before it. Gradients of all inputs",
  Cast: "types of 8 to 64 bits and bool; on the GPU integers do not wrap around",
  CastLike: "as Cast",
  Clip: "bounds may be computed; gradient 0 on them, as PyTorch's relu6",
  ConstantOfShape: HOST,
  Conv: "1 and 2 spatial axes; gradients of data, weights and bias",
  ConvTranspose: "1 and 2 spatial axes; gradients of data, weights and bias",
  Dropout: "inference",
  Expand: "the shape must not depend on the network's input",
  Gemm: "gradients of all inputs",
  InstanceNormalization: "gradients of data, scale and bias",
  LayerNormalization: "gradients of data, scale and bias",
  GroupNormalization: "gradients of data, scale and bias",
  LpPool: "1 to 3 spatial axes",
  MatMul: "gradients of both inputs, summed where they are broadcast",
  MaxPool: "1 to 3 spatial axes; ties: the first maximum, and NaN is the maximum, as in PyTorch",
  Not: "all of its own tests are of opset 1",
  Pad: "constant, reflect, edge, wrap; amounts must not depend on the network's input",
  Range: HOST,
  Relu: "gradient 0 at 0, as in PyTorch",
  Reshape: "the shape must not depend on the network's input",
  Resize: "nearest, linear, cubic; all coordinate modes; antialias; sizes must not depend on the network's input",
  Shape: HOST,
  Size: HOST,
  Slice: "negative steps too; bounds must not depend on the network's input",
  Tile: "repeats must not depend on the network's input",
  Upsample: "opset 7 to 9",
};

const cases = (row) => {
  const left = Object.values(row.unsupported).reduce((n, k) => n + k, 0);
  return { total: row.pass + row.fail + left, ...row };
};
const none = { pass: 0, fail: 0, unsupported: {} };
const escape = (text) => text.replaceAll("|", "\\|");

function operatorRow([name, { forward, gradient }]) {
  const { total, pass } = cases(run.operators[name] ?? none);
  const tests = total === 0 ? "none" : `${pass} of ${total}`;
  const versions = (run.versions[name] ?? []).join(", ");
  const way = forward === undefined ? "host" : "yes";
  return `| ${[name, versions, way, gradient === undefined ? "no" : "yes", tests, escape(NOTES[name] ?? "")].join(" | ")} |`;
}

/** Reasons with how many tests, most frequent first; those for want of an operator apart. */
function reasons(rows, ofOperators) {
  const counts = new Map();
  for (const [name, { unsupported }] of rows)
    for (const [reason, n] of Object.entries(unsupported)) {
      if (reason.startsWith("operator ") !== ofOperators) continue;
      const found = counts.get(reason) ?? { n: 0, by: [] };
      found.n += n;
      found.by.push(`${name} ${n}`);
      counts.set(reason, found);
    }
  return [...counts].sort(([a, x], [b, y]) => y.n - x.n || (a < b ? -1 : 1));
}

const reasonRows = (rows) =>
  reasons(rows, false).map(([reason, { n, by }]) => `| ${reason} | ${n} | ${by.join(", ")} |`);

const lacking = (rows) =>
  reasons(rows, true)
    .map(([reason, { n }]) => `${reason.replace("operator ", "").replaceAll(", ", " + ")} ${n}`)
    .join(", ");

const known = [...operators].sort(([a], [b]) => (a < b ? -1 : 1));
const others = [...Object.entries(run.operators).filter(([name]) => !operators.has(name)), ["several", run.several]];
const several = cases(run.several);
const text = `# Operators

Which ONNX operators Unbraid runs, made by \`scripts/features.mjs\` from the table of operators and the last run of
\`unbraid conformance\`; \`test/docs/features.test.ts\` keeps it true. Models of opset 7 and later are read.

- **Versions**: the opsets since which each of the operator's definitions holds, those from 7 on (a number below 7 is the
  one that holds at 7). Each is followed, but for what the notes and the table of reasons below say.
- **Forward**: "yes" on the GPU (and on the host, in float64 or exact integers, where nothing depends on the network's
  input); "host" where it runs there only.
- **Gradient**: "yes" where gradients pass through; an operator whose result is an integer or a bool, or is a step
  function, passes none on or zeros, as in PyTorch.
- **Tests**: how many of ONNX's own tests of this operator alone pass. All others are unsupported, for the reasons below;
  none fails.

All tensors on the GPU are float32, unless [half precision](performance.md#half-precision) is asked for: float16, bfloat16 and float64 models run in float32 (a note on stderr says so), and
integers that the GPU computes are exact to 2^24. Integers that only serve shapes stay on the host, exact to 2^53.

## By operator

| operator | versions | forward | gradient | tests | notes |
| --- | --- | --- | --- | --- | --- |
${known.map(operatorRow).join("\n")}

## The run

${run.date}, ${run.adapter}, tests of onnx ${run.onnx}: ${run.pass} passed, ${run.fail} failed, ${run.unsupported} unsupported. Of these, tests whose model has several
operators (functions written out, small networks): ${several.pass} passed, ${several.fail} failed, ${several.total - several.pass - several.fail} unsupported.

## Why tests of these operators are unsupported

| reason | tests | of which operators |
| --- | --- | --- |
${reasonRows(Object.entries(run.operators).filter(([name]) => operators.has(name))).join("\n")}

## Why all other tests are unsupported

A model with an operator that is not in the table is refused, with the names of all nodes concerned. An If (of any opset)
whose condition follows from constants and the input's shape is replaced by its branch, as PyTorch's older exporter writes
one in LocalResponseNorm; any other is refused.
Tests that need such an operator, each counted under all that it lacks together: ${lacking(others)}.

| reason | tests | of which operators |
| --- | --- | --- |
${reasonRows(others).join("\n")}
`;
writeFileSync(new URL("../docs/features.md", import.meta.url), text);
