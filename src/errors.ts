/**
 * Errors that a user can cause. Each carries a stable code, a message with the numbers involved, and a remedy.
 * Everything else that is thrown is a bug of ours.
 */

/** The kinds of failure, and the exit code that the command line gives each. */
export const EXIT_CODES = {
  usage: 2,
  input: 3,
  model: 4,
  unsupported: 5,
  adapter: 6,
  device: 7,
  output: 8,
  interrupted: 130,
} as const;

export type ErrorKind = keyof typeof EXIT_CODES;

/**
 * @example throw new UnbraidError("input", "IMAGE_CORRUPT", "dog/3.jpg cannot be decoded: ...", "Remove it, or pass --skip-bad.")
 */
export class UnbraidError extends Error {
  override readonly name = "UnbraidError";
  readonly kind: ErrorKind;
  /** Stable, UPPER_SNAKE_CASE, documented in docs/errors.md. */
  readonly code: string;
  /** What to do about it: one sentence. */
  readonly remedy: string;

  constructor(kind: ErrorKind, code: string, message: string, remedy: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
    this.code = code;
    this.remedy = remedy;
  }
}

/** For what cannot happen unless our own code is wrong; never for bad input. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`internal error: ${message}`);
}

/** `value`, which our own logic guarantees to be there. */
export function must<T>(value: T | undefined | null, what: string): T {
  if (value === undefined || value === null) throw new Error(`internal error: missing ${what}`);
  return value;
}
