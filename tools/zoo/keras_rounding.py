"""rounding.py for Keras on TensorFlow: the same noise, in place of the operations that its layers call."""
import contextlib

import keras.src.ops as ops
import numpy as np
import tensorflow as tf

U = 2.0**-24
LEVEL = 8
RUNS = 4


def _noisy(plain, sums, generator):
    """`plain`(x, kernel, ...) with noise; `sums`(x, kernel) gives the lengths of its sums, forward and backward."""
    normal = lambda t: generator.normal(tf.shape(t), dtype=t.dtype)

    def run(inputs, kernel, *args, **kwargs):
        kernel = tf.convert_to_tensor(kernel)
        terms, back = sums(inputs, kernel)

        @tf.custom_gradient
        def before(x):
            def gradient(g):
                return g + LEVEL * U * (back / 6) ** 0.5 * tf.sqrt(tf.reduce_mean(g * g)) * normal(g)

            return tf.identity(x), gradient

        out = plain(before(inputs), kernel, *args, **kwargs)
        squares = tf.maximum(plain(inputs**2, kernel**2, *args, **kwargs), 0)
        size = U * (tf.sqrt(squares) * (terms / 6) ** 0.5 + tf.abs(out) * terms**0.5 / 3)
        return out + tf.stop_gradient(LEVEL * size * normal(out))

    return run


def _conv_sums(x, kernel):
    height, width, per_group, filters = kernel.shape
    return height * width * per_group, height * width * filters // (x.shape[-1] // per_group)


def _depthwise_sums(x, kernel):
    height, width, _, multiplier = kernel.shape
    return height * width, height * width * multiplier


@contextlib.contextmanager
def noise(seed):
    """Keras computes with noise in here."""
    generator = tf.random.Generator.from_seed(seed)
    conv = _noisy(ops.conv, _conv_sums, generator)
    depthwise = _noisy(ops.depthwise_conv, _depthwise_sums, generator)

    def separable(x, depthwise_kernel, pointwise_kernel, strides=1, padding="valid", data_format=None, dilation_rate=1):
        layout = {"data_format": data_format}
        between = depthwise(
            x, depthwise_kernel, strides=strides, padding=padding, dilation_rate=dilation_rate, **layout
        )
        return conv(between, pointwise_kernel, strides=1, padding="valid", **layout)

    changed = {
        "conv": conv,
        "depthwise_conv": depthwise,
        "separable_conv": separable,
        "matmul": _noisy(ops.matmul, lambda _, kernel: (np.float64(kernel.shape[0]), kernel.shape[1]), generator),
    }
    before = {name: getattr(ops, name) for name in changed}
    for name, value in changed.items():
        setattr(ops, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(ops, name, value)
