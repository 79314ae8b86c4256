/** How much a file's constants may grow on the host. */
import { UnbraidError } from "../errors.ts";
import { sizeOf, type Graph, type GraphNode, type ValueInfo } from "./graph.ts";

/**
 * What all nodes together may make of a file's constants on the host: so many elements, and so many times what the file
 * stores. Networks are far below (some steps for each weight); a file of a few nodes that double one constant is not.
 */
const COMPUTED_ELEMENTS = 2 ** 23;
const COMPUTED_TIMES = 16;

/** Counts the elements of the constants that are computed on the host. */
export class ConstantsMeter {
  private computed = 0;
  private readonly stored: number;

  constructor({ constants }: Pick<Graph, "constants">) {
    this.stored = [...constants.values()].reduce((n, t) => n + sizeOf(t.shape), 0);
  }

  add({ value, shape }: ValueInfo): void {
    if (value !== undefined) this.computed += sizeOf(shape);
  }

  /** Whether they are too many: no more must be computed then. */
  get full(): boolean {
    return this.computed > COMPUTED_ELEMENTS + COMPUTED_TIMES * this.stored;
  }

  /** @param node where it became full */
  refusal(node: GraphNode): UnbraidError {
    return new UnbraidError(
      "unsupported",
      "UNSUPPORTED_NODE",
      `${node.opType} "${node.name}": the constants computed up to it have ${this.computed} elements, more than ` +
        `${COMPUTED_ELEMENTS} and ${COMPUTED_TIMES} times the ${this.stored} that the file stores`,
      "Fold the file's constants before (onnxsim does), so that it stores their results.",
    );
  }
}
