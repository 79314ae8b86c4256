# The original procedure in PyTorch, for bench/original.mjs, which puts `network` before it. For each layer: relevance of all
# images, then one more run over a class's images for each channel that is relevant for it (Hesse et al. 2025, section 3).
# Kinder than its authors' code, which writes a file an image and lists the whole folder anew in every run: neither is done.
# Reads a job as JSON on stdin, writes figures and findings as JSON on stdout.
import os
from PIL import Image

job = json.load(sys.stdin)
net = network(job["program"])
mean = torch.tensor(job["mean"]).reshape(3, 1, 1)
std = torch.tensor(job["std"]).reshape(3, 1, 1)


def image(path):
    with Image.open(path) as picture:
        rgb = picture.convert("RGB")
        data = torch.frombuffer(bytearray(rgb.tobytes()), dtype=torch.uint8)
        return (data.reshape(rgb.height, rgb.width, 3).permute(2, 0, 1) / 255 - mean) / std


def forward(paths, layer):
    """Values of the layer and the logits. Weights ask for no gradients, so the images must for there to be any."""
    x = torch.stack([image(os.path.join(job["root"], p)) for p in paths]).requires_grad_(True)
    v = net({job["input"]: x}, [layer["input"], layer["output"], job["logits"]])
    return v[layer["input"]], v[layer["output"]], v[job["logits"]]


def over_positions(x):
    return x.sum(dim=tuple(range(2, x.dim()))).detach()


def relevance(paths, layer, label):
    """R[n, c]: the sum over positions of z times the gradient of the label's logit."""
    _, z, logits = forward(paths, layer)
    (g,) = torch.autograd.grad(logits[:, label].sum(), z)  # no further back than z
    return over_positions(z * g)


def average(paths, layer, channel):
    """The average relevance vector of a channel over a class: input times the gradient of the channel's sum, over positions."""
    x, z, _ = forward(paths, layer)
    (g,) = torch.autograd.grad(z[:, channel].sum(), x)
    return over_positions(x * g).mean(dim=0)


def study(layer):
    start = time.perf_counter()
    relevant = []
    for label, paths in enumerate(job["classes"]):
        R = relevance(paths, layer, label)
        important = R >= job["tau"] * R.clamp(min=0).sum(dim=1, keepdim=True)
        counts = important.sum(dim=0)
        relevant += [(int(c), label) for c in torch.nonzero(counts >= job["p"] * len(paths)).reshape(-1)]
    first = time.perf_counter() - start
    vectors = {(c, label): average(job["classes"][label], layer, c) for c, label in relevant}
    pairs = []
    for c in sorted({c for c, _ in relevant}):
        labels = [label for channel, label in relevant if channel == c]
        for i, a in enumerate(labels):
            for b in labels[i + 1 :]:
                cosine = float(F.cosine_similarity(vectors[c, a], vectors[c, b], dim=0))
                pairs.append([layer["name"], c, a, b, cosine])
    seconds = time.perf_counter() - start
    sys.stderr.write(f"{layer['name']}: {len(relevant)} runs over a class, {seconds:.1f} s\n")
    return {"seconds": seconds, "relevance_seconds": first, "runs": len(relevant), "pairs": pairs}


json.dump([study(layer) for layer in job["layers"]], sys.stdout)
