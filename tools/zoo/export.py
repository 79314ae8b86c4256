"""Writes networks of the zoo as ONNX by both PyTorch exporters, and what they should give.

  python export.py OUT [NET ...]       all networks unless named; see README.md
"""
import argparse
import importlib.metadata
import json
import pathlib
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
from PIL import Image

import nets
import rounding

FORMS = ("unfolded", "folded", "dynamo")
IMAGES_PER_CLASS = 2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def write_onnx(net, form, side, path):
    names = {"input_names": ["input"], "output_names": ["logits"]}
    if form == "dynamo":
        torch.onnx.export(
            net,
            (torch.zeros(2, 3, side, side),),
            path,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("N")},),
            external_data=False,
            verbose=False,
            **names,
        )
    else:
        fold = form == "folded"
        torch.onnx.export(
            net,
            (torch.zeros(1, 3, side, side),),
            path,
            dynamo=False,
            opset_version=17,
            do_constant_folding=fold,
            training=torch.onnx.TrainingMode.EVAL if fold else torch.onnx.TrainingMode.PRESERVE,
            dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}},
            **names,
        )
    onnx.checker.check_model(path)


class Reference:
    """Values and gradients of the label's logit at inner layers, before and after a BatchNorm that follows directly."""

    def __init__(self, net, layers):
        self.net, self.layers = net, layers

    def run(self, images, labels):
        modules = dict(self.net.named_modules())
        kept, order, hooks, last = {}, [], [], {}

        def keep(key, out):
            if not out.requires_grad:
                out.requires_grad_()
            out.retain_grad()
            kept[key] = out
            return out * 1  # what follows may work in place

        def conv_hook(path):
            def hook(module, inputs, out):
                order.append(path)
                if path not in self.layers:
                    return None
                shown = keep((path, "conv"), out)
                last[id(shown)] = (path, shown)
                return shown

            return hook

        def norm_hook(module, inputs, out):
            found = last.get(id(inputs[0]))
            return None if found is None else keep((found[0], "norm"), out)

        for path, m in modules.items():
            if isinstance(m, torch.nn.Conv2d):
                hooks.append(m.register_forward_hook(conv_hook(path)))
            elif isinstance(m, torch.nn.BatchNorm2d):
                hooks.append(m.register_forward_hook(norm_hook))
        try:
            logits = self.net(images)
            logits[torch.arange(len(labels)), labels].sum().backward()
        finally:
            for hook in hooks:
                hook.remove()
        return {
            "logits": logits.detach(),
            "order": order,
            "values": {k: v.detach() for k, v in kept.items()},
            "gradients": {k: v.grad for k, v in kept.items()},
        }


def inference(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def relative(a, b):
    return float((a - b).norm() / b.norm())


def convs_of(model):
    return [n for n in model.graph.node if n.op_type == "Conv"]


def which_value(path, conv, reference, layer, images):
    """The value that `conv` writes: the layer's own output, or with BatchNorm folded in that of the BatchNorm."""
    model = onnx.load(path)
    name = conv.output[0]
    if name not in [o.name for o in model.graph.output]:
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    session = inference(model.SerializeToString())
    (found,) = session.run([name], {"input": images.float().numpy()})
    for stage in ("conv", "norm"):
        value = reference["values"].get((layer, stage))
        if value is not None and value.shape == found.shape:
            if relative(torch.from_numpy(found).double(), value) < 1e-3:
                return stage
    raise SystemExit(f"{path}: the Conv that writes {name} is not {layer}")


def picture_folder(folder, side):
    images = nets.pictures(nets.CLASSES * IMAGES_PER_CLASS, side, 7)
    for k, image in enumerate(images):
        pixels = (image * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)).clamp(0, 1) * 255
        to = folder / f"class{k % nets.CLASSES}"
        to.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.round().byte().permute(1, 2, 0).numpy()).save(to / f"{k}.png")


def export(name, out):
    spec = nets.NETS[name]
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    net = nets.make(name)
    for form in FORMS:
        write_onnx(net, form, spec.side, str(folder / f"{form}.onnx"))
    picture_folder(folder / "images", spec.side)
    net.double().requires_grad_(False)
    images = nets.pictures(spec.images, spec.side, 3).double()
    labels = torch.arange(spec.images) % nets.CLASSES
    reference = Reference(net, spec.layers)
    exact = reference.run(images, labels)
    runs = [
        rounding.with_noise(net, 50 + k, lambda: reference.run(images, labels)) for k in range(rounding.RUNS)
    ]
    save = lambda file, tensor: np.save(folder / file, tensor.numpy())
    save("input.npy", images.float())
    save("logits.npy", exact["logits"])
    gradients = []
    for (layer, stage), gradient in exact["gradients"].items():
        file = f"gradient-{layer}-{stage}.npy"
        save(file, gradient)
        tolerance = max(relative(r["gradients"][layer, stage], gradient) for r in runs)
        gradients.append({"layer": layer, "stage": stage, "file": file, "tolerance": tolerance})
    forms = []
    for form in FORMS:
        path = folder / f"{form}.onnx"
        model = onnx.load(path)
        convs = convs_of(model)
        if len(convs) != len(exact["order"]):
            raise SystemExit(f"{path}: {len(convs)} Conv nodes, {len(exact['order'])} convolutions in PyTorch")
        theirs = inference(str(path)).run(["logits"], {"input": images.float().numpy()})[0]
        np.save(folder / f"onnxruntime-{form}.npy", theirs)
        values = {}
        for layer in spec.layers:
            conv = convs[exact["order"].index(layer)]
            values[layer] = {"value": conv.output[0], "stage": which_value(path, conv, exact, layer, images)}
        forms.append({"form": form, "opset": model.opset_import[0].version, "values": values})
    meta = {
        "name": name,
        "side": spec.side,
        "classes": nets.CLASSES,
        "labels": labels.tolist(),
        "logits_tolerance": max(float((r["logits"] - exact["logits"]).abs().max()) for r in runs),
        "layers": list(spec.layers),
        "gradients": gradients,
        "forms": forms,
        "mean": MEAN,
        "std": STD,
        "versions": {
            "torch": torch.__version__,
            "torchvision": importlib.metadata.version("torchvision"),
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1))
    print(name, "logits", float(exact["logits"].std()), "tolerance", meta["logits_tolerance"], flush=True)
    for g in gradients:
        print("  ", g["layer"], g["stage"], f"{g['tolerance']:.2e}", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=pathlib.Path)
    p.add_argument("nets", nargs="*", metavar="NET", help=" ".join(nets.NETS))
    a = p.parse_args()
    unknown = [n for n in a.nets if n not in nets.NETS]
    if unknown:
        p.error(f"no such network: {', '.join(unknown)}")
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)  # two threads that wait for each other are slower than one where cores are shared
    for name in a.nets or nets.NETS:
        export(name, a.out)


main()
