/** onnx-proto (ONNX 1.10 by protobufjs 6): builds models for tests, and reads them as an oracle. */
import onnxProto from "onnx-proto";

export const { onnx } = onnxProto;
