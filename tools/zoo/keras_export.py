"""Writes Keras networks as ONNX through tf2onnx, and what they should give. In an environment of its own:

  pip install tensorflow-cpu tf2onnx && python keras_export.py OUT [NET ...]

The same files as export.py's, so that check.mjs reads them: `nchw` (input transposed by --inputs-as-nchw) and `nhwc`
(Keras's own order) in place of PyTorch's forms. Gradients are TensorFlow's in float64. Tolerances: rounding.py's noise is
not rebuilt here; float32 TensorFlow's own distance from float64, times LEVEL, stands in for it.
"""
import json
import os
import pathlib
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx
from PIL import Image

CLASSES, IMAGES, LEVEL, OPSET = 8, 4, 16, 17
# constructor, side, the Conv2D layer looked at: pre-activation, squeeze-and-excitation with HardSigmoid, "same" padding
# of strided convolutions, depthwise separable ones
NETS = {
    "MobileNetV3Small": (96, {"minimalistic": False, "include_preprocessing": False}, "conv_1"),
    "ResNet50V2": (64, {}, "conv5_block3_2_conv"),
    "DenseNet121": (64, {}, "conv3_block3_2_conv"),
    "EfficientNetB0": (64, {}, "block3b_expand_conv"),
    "Xception": (96, {}, "conv2d_3"),
}


def build(name):
    side, options, _ = NETS[name]
    keras.backend.clear_session()
    make = getattr(keras.applications, name)
    return make(weights=None, input_shape=(side, side, 3), classes=CLASSES, classifier_activation=None, **options)


def random_weights(net, images):
    """Statistics and scales as a trained network has them."""
    rng = np.random.default_rng(1)
    for layer in net.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            if layer.scale:
                layer.gamma.assign(rng.uniform(0.3, 1.0, layer.gamma.shape))
            layer.beta.assign(rng.normal(0, 0.1, layer.beta.shape))
    net(images, training=True)


def values(net, layer, images, labels):
    """z of the layer, logits, and the gradient of the labels' logits at z."""
    two = keras.Model(net.input, [net.get_layer(layer).output, net.output])
    x = tf.convert_to_tensor(images.astype(keras.config.floatx()))
    with tf.GradientTape() as tape:
        tape.watch(x)
        z, logits = two(x, training=False)
        total = tf.reduce_sum(tf.gather(logits, labels, axis=1, batch_dims=1))
    return z.numpy(), logits.numpy(), tape.gradient(total, z).numpy()


def relative(a, b):
    return float(np.linalg.norm((a - b).ravel()) / np.linalg.norm(b.ravel()))


def export(name, out):
    side, _, layer = NETS[name]
    folder = out / f"keras-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:side, 0:side] * 64 / side

    def pictures(count):
        waves = [(rng.random((4, count, 1, 1, 3)) - 0.5) for _ in range(8)]
        sum_ = sum(2 * w[3] * np.sin(w[0] * x[None, :, :, None] + w[1] * y[None, :, :, None] + 6.28 * w[2]) for w in waves)
        return np.clip(sum_ + 0.2 * rng.normal(size=sum_.shape), -2.1, 2.6).astype(np.float32)

    keras.config.set_floatx("float32")
    net = build(name)
    random_weights(net, pictures(8))
    weights = net.get_weights()
    images, labels = pictures(IMAGES), np.arange(IMAGES)
    signature = (tf.TensorSpec((None, side, side, 3), tf.float32, name="input"),)
    for form, options in {"nhwc": {}, "nchw": {"inputs_as_nchw": ["input"]}}.items():
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
        onnx.save(model, folder / f"{form}.onnx")
    z32, logits32, g32 = values(net, layer, images, labels)
    keras.config.set_floatx("float64")
    exact = build(name)
    exact.set_weights([w.astype(np.float64) for w in weights])
    z, logits, gradient = values(exact, layer, images, labels)
    nchw = lambda t: np.ascontiguousarray(t.transpose(0, 3, 1, 2))
    np.save(folder / "logits.npy", logits)
    np.save(folder / "gradient.npy", nchw(gradient))
    forms = []
    for form in ("nhwc", "nchw"):
        path = folder / f"{form}.onnx"
        shown = images if form == "nhwc" else nchw(images)
        np.save(folder / f"input-{form}.npy", shown)
        model = onnx.load(path)
        convs = [n.output[0] for n in model.graph.node if n.op_type == "Conv"]
        have = {o.name for o in model.graph.output}
        model.graph.output.extend(onnx.ValueInfoProto(name=c) for c in convs if c not in have)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        found = session.run(["logits", *convs], {"input": shown})
        np.save(folder / f"onnxruntime-{form}.npy", found[0])
        same = [c for c, v in zip(convs, found[1:]) if v.shape == nchw(z).shape and relative(v, nchw(z)) < 1e-3]
        # tf2onnx merges BatchNormalization where it can: then no Conv writes this layer's own output
        forms.append({"form": form, "opset": OPSET, "values": {layer: {"value": same[0], "stage": "conv"}} if same else {}})
    for k in range(2 * CLASSES):
        to = folder / "images" / f"class{k % CLASSES}"
        to.mkdir(parents=True, exist_ok=True)
        pixels = ((pictures(1)[0] * 0.2 + 0.5).clip(0, 1) * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(to / f"{k}.png")
    meta = {
        "name": f"keras-{name}",
        "side": side,
        "classes": CLASSES,
        "labels": labels.tolist(),
        "logits_tolerance": LEVEL * float(np.abs(logits32 - logits).max()),
        "layers": [layer],
        "gradients": [{"layer": layer, "stage": "conv", "file": "gradient.npy", "tolerance": LEVEL * relative(g32, gradient)}],
        "forms": forms,
        "mean": [0.5] * 3,
        "std": [0.2] * 3,
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__, "tf2onnx": tf2onnx.__version__},
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1))
    print(name, meta["logits_tolerance"], meta["gradients"], [f["values"] for f in forms], flush=True)


def main():
    out = pathlib.Path(sys.argv[1])
    for name in sys.argv[2:] or NETS:
        export(name, out)


main()
