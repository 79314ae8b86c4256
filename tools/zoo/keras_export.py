"""Writes Keras networks as ONNX through tf2onnx, and what they should give. In an environment of its own:

  pip install tensorflow-cpu tf2onnx onnxruntime pillow && python keras_export.py OUT [NET ...]

The same files as export.py's, so that check.mjs reads them: `nchw` (input transposed by --inputs-as-nchw) and `nhwc`
(Keras's own order) in place of PyTorch's forms. Gradients are TensorFlow's in float64, tolerances keras_rounding.py's.
"""
import json
import os
import pathlib
import sys
from dataclasses import dataclass, field

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx
from PIL import Image

import keras_rounding

CLASSES, IMAGES, OPSET = 8, 4, 17


@dataclass(frozen=True)
class Net:
    """Layers are names of Conv2D or SeparableConv2D layers; `scale` is what the network's own rescaling undoes."""

    layers: tuple
    side: int = 64
    scale: tuple = (1.0, 0.0)
    options: dict = field(default_factory=dict)


NETS = {
    # Squeeze-and-excitation, hard swish, uneven padding of strided layers.
    "MobileNetV3Small": Net(("expanded_conv_3_expand", "conv_1"), 96, options={"include_preprocessing": False}),
    # Pre-activation; convolutions with a bias and no BatchNormalization behind them.
    "ResNet50V2": Net(("conv3_block2_2_conv", "conv5_block3_1_conv")),
    # Biases with BatchNormalization behind them.
    "ResNet50": Net(("conv3_block2_2_conv", "conv5_block3_3_conv")),
    "DenseNet121": Net(("conv3_block3_2_conv", "pool4_conv")),
    # Fused blocks without depthwise convolutions.
    "EfficientNetV2B0": Net(("block2b_expand_conv", "top_conv"), options={"include_preprocessing": False}),
    "Xception": Net(("conv2d_1", "block14_sepconv2"), 96),
    # Separable convolutions, concatenations, pools with "same" padding, crops.
    "NASNetMobile": Net(("reduction_conv_1_reduce_4", "normal_conv_1_12")),
}


def build(name):
    net = NETS[name]
    keras.backend.clear_session()
    make = getattr(keras.applications, name)
    shape = (net.side, net.side, 3)
    return make(weights=None, input_shape=shape, classes=CLASSES, classifier_activation=None, **net.options)


def random_weights(net, images):
    """Statistics and scales as a trained network has them."""
    rng = np.random.default_rng(1)
    for layer in net.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            if layer.scale:
                shape = layer.gamma.shape
                layer.gamma.assign(rng.uniform(0.3, 1.0, shape) * np.where(rng.random(shape) < 0.1, -1, 1))
            layer.beta.assign(rng.normal(0, 0.1, layer.beta.shape))
    net(images, training=True)


def stages(net, layers):
    """The tensors looked at: each layer's own output, and that of the BatchNormalization that takes it."""
    found = {}
    for name in layers:
        out = net.get_layer(name).output
        found[name, "conv"] = out
        for layer in net.layers:
            if isinstance(layer, keras.layers.BatchNormalization) and layer.input is out:
                found[name, "norm"] = layer.output
    return found


def reference(net, layers, images, labels):
    """Values and gradients of the labels' logits at the stages, in NCHW, and the logits."""
    tensors = stages(net, layers)
    several = keras.Model(net.input, [*tensors.values(), net.output])
    x = tf.convert_to_tensor(images.astype(keras.config.floatx()))
    with tf.GradientTape() as tape:
        tape.watch(x)
        *values, logits = several(x, training=False)
        total = tf.reduce_sum(tf.gather(logits, labels, axis=1, batch_dims=1))
    gradients = tape.gradient(total, values)
    return {
        "logits": logits.numpy(),
        "values": {key: nchw(v.numpy()) for key, v in zip(tensors, values)},
        "gradients": {key: nchw(g.numpy()) for key, g in zip(tensors, gradients)},
    }


def nchw(t):
    return np.ascontiguousarray(t.transpose(0, 3, 1, 2))


def relative(a, b):
    return float(np.linalg.norm((a - b).ravel()) / np.linalg.norm(b.ravel()))


def centred(t):
    """tf2onnx merges a BatchNormalization's scale into the Conv and adds its shift afterwards."""
    return t - t.mean(axis=(0, 2, 3), keepdims=True)


def write_onnx(net, side, path, options):
    signature = (tf.TensorSpec((None, side, side, 3), tf.float32, name="input"),)
    call = tf.function(lambda v: tf.identity(net(v, training=False), name="logits"), input_signature=signature)
    model, _ = tf2onnx.convert.from_function(call, input_signature=signature, opset=OPSET, **options)
    output = model.graph.output[0].name
    for node in model.graph.node:
        for names in (node.input, node.output):
            for k, value in enumerate(names):
                if value == output:
                    names[k] = "logits"
    model.graph.output[0].name = "logits"
    onnx.checker.check_model(model)
    onnx.save(model, path)


def pictures(count, side, rng):
    y, x = np.mgrid[0:side, 0:side] * 64 / side
    waves = [rng.random((4, count, 1, 1, 3)) - 0.5 for _ in range(8)]
    total = sum(2 * w[3] * np.sin(w[0] * x[None, :, :, None] + w[1] * y[None, :, :, None] + 6.28 * w[2]) for w in waves)
    return np.clip(total + 0.2 * rng.normal(size=total.shape), -2.1, 2.6).astype(np.float32)


def check_form(path, shown, exact, layers):
    """onnxruntime's logits, and which value of the file each layer's Conv writes at which stage."""
    model = onnx.load(path)
    convs = [n.output[0] for n in model.graph.node if n.op_type == "Conv"]
    have = {o.name for o in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=c) for c in convs if c not in have)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    logits, *found = session.run(["logits", *convs], {"input": shown})
    values = {}
    for layer in layers:
        for stage in ("conv", "norm"):
            want = exact["values"].get((layer, stage))
            for conv, value in zip(convs, found):
                if want is not None and value.shape == want.shape and relative(centred(value), centred(want)) < 1e-3:
                    values[layer] = {"value": conv, "stage": stage}
        if layer not in values:
            raise SystemExit(f"{path}: no Conv writes {layer}, nor the BatchNormalization after it")
    return logits, {"opset": OPSET, "values": values}


def export(name, out):
    spec = NETS[name]
    folder = out / f"keras-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    factor, shift = spec.scale
    inputs = lambda count: (factor * pictures(count, spec.side, rng) + shift).astype(np.float32)

    keras.config.set_floatx("float32")
    net = build(name)
    random_weights(net, inputs(8))
    weights = net.get_weights()
    images, labels = inputs(IMAGES), np.arange(IMAGES)
    for form, options in {"nhwc": {}, "nchw": {"inputs_as_nchw": ["input"]}}.items():
        write_onnx(net, spec.side, folder / f"{form}.onnx", options)

    keras.config.set_floatx("float64")
    net = build(name)
    net.set_weights([w.astype(np.float64) for w in weights])
    exact = reference(net, spec.layers, images, labels)
    runs = []
    for k in range(keras_rounding.RUNS):
        with keras_rounding.noise(50 + k):
            runs.append(reference(net, spec.layers, images, labels))
    np.save(folder / "logits.npy", exact["logits"])
    gradients = []
    for (layer, stage), gradient in exact["gradients"].items():
        file = f"gradient-{layer}-{stage}.npy"
        np.save(folder / file, gradient)
        tolerance = max(relative(r["gradients"][layer, stage], gradient) for r in runs)
        gradients.append({"layer": layer, "stage": stage, "file": file, "tolerance": tolerance})
    forms = []
    for form in ("nhwc", "nchw"):
        shown = images if form == "nhwc" else nchw(images)
        np.save(folder / f"input-{form}.npy", shown)
        logits, about = check_form(folder / f"{form}.onnx", shown, exact, spec.layers)
        np.save(folder / f"onnxruntime-{form}.npy", logits)
        forms.append({"form": form, **about})
    for k in range(2 * CLASSES):
        to = folder / "images" / f"class{k % CLASSES}"
        to.mkdir(parents=True, exist_ok=True)
        pixels = ((pictures(1, spec.side, rng)[0] * 0.2 + 0.5).clip(0, 1) * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(to / f"{k}.png")
    meta = {
        "name": f"keras-{name}",
        "side": spec.side,
        "classes": CLASSES,
        "labels": labels.tolist(),
        "logits_tolerance": max(float(np.abs(r["logits"] - exact["logits"]).max()) for r in runs),
        "layers": list(spec.layers),
        "gradients": gradients,
        "forms": forms,
        # (v - mean) / std is factor * (v - 0.5) / 0.2 + shift
        "mean": [0.5 - 0.2 * shift / factor] * 3,
        "std": [0.2 / factor] * 3,
        "versions": {
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "tf2onnx": tf2onnx.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1))
    print(name, "logits", float(exact["logits"].std()), "tolerance", meta["logits_tolerance"], flush=True)
    for g in gradients:
        print("  ", g["layer"], g["stage"], f"{g['tolerance']:.2e}", flush=True)


def main():
    out = pathlib.Path(sys.argv[1])
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for name in sys.argv[2:] or NETS:
        export(name, out)


main()
