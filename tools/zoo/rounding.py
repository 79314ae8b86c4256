"""What float32 arithmetic may do to a network's results, by Monte Carlo arithmetic: a float64 run in which every
convolution and matrix product, forward and backward, gets noise of the size that float32 rounding has there.

Rounding of one sum. fl(sum of n products) errs by about the sum of u |s_k| r_k over its partial sums s_k, with r_k
independent of mean 0 and variance 1/3 (u = 2^-24). If the products are centred, s_k grows as sqrt(k) and the error has
standard deviation u sqrt(n/6) q with q^2 = sum (w x)^2; if they all have one sign, s_k grows as k and it has
u sqrt(n)/3 |s|. Their sum covers what lies between. Backward the same with the incoming gradients for x; there the root
mean square of the result stands for q.

Noise is LEVEL times that. Discontinuities of the gradient (a ReLU's zero, a MaxPool's tie) make its error a rare large
one: whether some element lies within the error of its ReLU's zero is a matter of luck. With noise LEVEL times as large
as float32's it happens LEVEL times as often, and in RUNS runs RUNS times: then their largest deviation is a tolerance
for any float32 implementation, ours and onnxruntime's.

Winograd's algorithm (Lavin and Gray, "Fast algorithms for convolutional neural networks", 2015), by which ours computes
3x3 convolutions of stride 1: y = A^T [ sum over channels of (G w G^T) . (B^T d B) ] A. With independent weights and
inputs of variance 1, component (i, j) of the transformed weights has variance |G_i|^2 |G_j|^2, and of the inputs
|B_i|^2 |B_j|^2 (rows of G and of B^T). Its sum over C channels errs by u C/sqrt(6) |G_i| |G_j| |B_i| |B_j|, so y[p, q]
by u C/sqrt(6) sqrt(S_p S_q), where S_p = sum over i of (A_pi |G_i| |B_i|)^2; the plain sum of 9 C products by
u 9 C/sqrt(6). The root mean square of the ratio over a tile is the mean of S over 9, `winograd_gain`: 0.56 for
F(2x2, 3x3) and 3.6 for F(4x4, 3x3). The transforms round a few times more, whatever C: emulated in float32 the ratio
was 4.8 for 16 channels, the fewest for which ours takes Winograd, and 3.1 for 256. LEVEL is above that: the tolerances
hold for such layers too, and noise of their own would only loosen them.
"""
import numpy as np
import torch
import torch.nn.functional as F

U = 2.0**-24
LEVEL = 8
RUNS = 4


def winograd_gain(b, g, a):
    """How much more a tile's elements err than plain sums, from B^T, G and A^T."""
    b, g, a = (np.array(m, dtype=float) for m in (b, g, a))
    return float((a**2 @ ((g**2).sum(1) * (b**2).sum(1))).mean() / 9)


F4 = (
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
)
assert winograd_gain(*F4) < LEVEL


def _noisy(module, generator):
    conv = isinstance(module, torch.nn.Conv2d)
    terms = module.weight[0].numel()
    width = module.weight.shape[0] // (module.groups if conv else 1)
    back = width * (module.weight.shape[2] * module.weight.shape[3] if conv else 1)
    normal = lambda like: torch.randn(like.shape, generator=generator, dtype=like.dtype)

    def forward(m, inputs, out):
        with torch.no_grad():
            x, w = inputs[0].detach() ** 2, m.weight**2
            squares = (
                F.conv2d(x, w, None, m.stride, m.padding, m.dilation, m.groups) if conv else F.linear(x, w)
            ).clamp(min=0)
            size = U * (squares.sqrt() * (terms / 6) ** 0.5 + out.abs() * terms**0.5 / 3)
            noise = LEVEL * size * normal(out)
        return out + noise

    def before(m, inputs):
        x = inputs[0] * 1
        if x.requires_grad:
            x.register_hook(lambda g: g + LEVEL * U * (back / 6) ** 0.5 * g.pow(2).mean().sqrt() * normal(g))
        return (x, *inputs[1:])

    return [module.register_forward_hook(forward), module.register_forward_pre_hook(before)]


def with_noise(net, seed, run):
    """`run()`'s result while `net` computes with noise."""
    generator = torch.Generator().manual_seed(seed)
    hooks = [
        hook
        for m in net.modules()
        if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))
        for hook in _noisy(m, generator)
    ]
    try:
        return run()
    finally:
        for hook in hooks:
            hook.remove()
