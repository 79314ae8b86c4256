export interface Token {
  readonly kind: "word" | "number" | "sign";
  readonly text: string;
  readonly apart: boolean;
}
export declare function tokens(wgsl: string): Token[];
export declare function wordsOf(
  wgsl: string,
  known?: ReadonlySet<string>,
): (Token & { readonly role: "own" | "kept" })[];
