/** A model's file with its large weights moved to a data file beside it, as exporters write models of 2 GB and more. */
import { onnx } from "../support/onnx-proto.ts";

/** @returns the model, and the data file that it names `location` */
export function externalModel(bytes: Uint8Array, location: string): { model: Uint8Array; data: Uint8Array } {
  const model = onnx.ModelProto.decode(bytes);
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const tensor of model.graph?.initializer ?? []) {
    const raw = tensor.rawData;
    if (!(raw instanceof Uint8Array) || raw.length < 4096) continue;
    parts.push(raw.slice());
    tensor.rawData = new Uint8Array(0);
    tensor.dataLocation = onnx.TensorProto.DataLocation.EXTERNAL;
    const entries = { location, offset: String(offset), length: String(raw.length) };
    tensor.externalData = Object.entries(entries).map(([key, value]) => ({ key, value }));
    offset += raw.length;
  }
  return { model: onnx.ModelProto.encode(model).finish(), data: Buffer.concat(parts) };
}
