"""Writes the trained network as ONNX, with its labels and preprocessing.

  python export.py --weights run/model.pt --out ../../models

BatchNormalization is kept as it is (not folded into the convolutions), the batch dimension is free, opset 17.
Writes demo.onnx, demo-labels.json (class names in logit order) and demo.preprocess.json.
"""
import argparse
import json
from pathlib import Path

import onnx
import torch

from data import SIZE
from net import MEAN, STD, Net
from render import classes


def unshare(model):
    """Undoes the exporter's sharing of equal tensors: Identity nodes of an initialiser become initialisers."""
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "Identity" and n.input[0] in stored]:
        copy = graph.initializer.add()
        copy.CopyFrom(stored[node.input[0]])
        copy.name = node.output[0]
        graph.node.remove(node)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    net = Net()
    net.load_state_dict(torch.load(args.weights, weights_only=True))
    net.eval()
    path = args.out / "demo.onnx"
    torch.onnx.export(
        net,
        (torch.zeros(1, 3, SIZE, SIZE),),
        path,
        dynamo=False,
        opset_version=17,
        do_constant_folding=False,
        training=torch.onnx.TrainingMode.PRESERVE,
        input_names=["input"],
        output_names=["logits"],
        dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}},
    )
    model = onnx.load(path)
    unshare(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    labels = json.dumps([entry["name"] for entry in classes()], indent=2)
    (args.out / "demo-labels.json").write_text(labels + "\n")
    preprocess = json.dumps({"resize": SIZE, "crop": SIZE, "mean": [MEAN] * 3, "std": [STD] * 3})
    (args.out / "demo.preprocess.json").write_text(preprocess + "\n")


if __name__ == "__main__":
    main()
