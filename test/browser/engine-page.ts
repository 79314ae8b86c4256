/** What page/engine.ts puts onto the browser's global object: texts are base64 of bytes, or of float32. */
export interface EnginePage {
  decode(file: string, name: string): Promise<{ width: number; height: number; data: string }>;
  /** One batch through a study's pass: logits, relevance and tap sums of the last layer. */
  run(
    model: string,
    images: string,
    labels: readonly number[],
  ): Promise<Readonly<Record<"logits" | "relevance" | "tapSums", string>>>;
}
