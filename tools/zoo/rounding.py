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
"""
import torch
import torch.nn.functional as F

U = 2.0**-24
LEVEL = 8
RUNS = 4


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
