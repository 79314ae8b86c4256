import { expect, it } from "vitest";
import { checkArity } from "../../src/kernels/arity.ts";
import { operators } from "../../src/kernels/table.ts";

it.each([...operators.keys()])("%s has an arity at every opset, which an input too many exceeds", (opType) => {
  const node = (inputs: number) => ({
    ...{ name: "n", opType, attributes: new Map(), outputs: ["y"] },
    inputs: Array.from({ length: inputs }, (_, k) => `x${k}`),
  });
  for (const opset of [7, 13, 22]) {
    expect(() => {
      checkArity(node(0), opset);
    }).not.toThrow();
    if (["Concat", "Max", "Mean", "Min", "Sum"].includes(opType)) continue;
    expect(() => {
      checkArity(node(7), opset);
    }).toThrow(/7 inputs/);
  }
});
