/**
 * The Python of the PyTorch peer: ONNX's operators of usual classification networks by torch's own functions. Its results
 * count only where they agree with ours, so it need not be complete.
 */
import { MARK } from "./child.ts";

/** Gives `network(program)`: a function of inputs and of the names of the values to keep, which returns all that is kept. */
export const TORCH_NETWORK = `
import json, sys, time
import torch
import torch.nn.functional as F

def padded(x, pads, value):
    n = len(pads) // 2
    begin, end = pads[:n], pads[n:]
    if begin == end:
        return x, list(begin)
    flat = [p for k in reversed(range(n)) for p in (begin[k], end[k])]
    return F.pad(x, flat, value=value), [0] * n

def window(a, x, kernel):
    n = len(kernel)
    if a.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise NotImplementedError("auto_pad")
    return (a.get("strides", [1] * n), a.get("pads", [0] * 2 * n), a.get("dilations", [1] * n))

def conv(a, x, w, b=None):
    strides, pads, dilations = window(a, x, w.shape[2:])
    x, pad = padded(x, pads, 0.0)
    f = F.conv2d if w.dim() == 4 else F.conv1d
    return f(x, w, b, strides, pad, dilations, a.get("group", 1))

def max_pool(a, x):
    strides, pads, dilations = window(a, x, a["kernel_shape"])
    x, pad = padded(x, pads, float("-inf"))
    return F.max_pool2d(x, a["kernel_shape"], strides, pad, dilations, bool(a.get("ceil_mode", 0)))

def average_pool(a, x):
    strides, pads, _ = window(a, x, a["kernel_shape"])
    n = len(pads) // 2
    if pads[:n] != pads[n:]:
        raise NotImplementedError("AveragePool with uneven pads")
    return F.avg_pool2d(x, a["kernel_shape"], strides, pads[:n], bool(a.get("ceil_mode", 0)), bool(a.get("count_include_pad", 0)))

def gemm(a, x, w, c=None):
    x = x.t() if a.get("transA", 0) else x
    if a.get("alpha", 1.0) == 1.0 and a.get("beta", 1.0) == 1.0:
        return F.linear(x, w if a.get("transB", 0) else w.t(), c)
    y = a.get("alpha", 1.0) * (x @ (w.t() if a.get("transB", 0) else w))
    return y if c is None else y + a.get("beta", 1.0) * c

def batch_norm(a, x, scale, bias, mean, variance):
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, a.get("epsilon", 1e-5))

def clip(a, x, low=None, high=None):
    low = a.get("min") if low is None else float(low)
    high = a.get("max") if high is None else float(high)
    return torch.clamp(x, low, high)

def reduce_mean(a, x, axes=None):
    axes = a.get("axes") if axes is None else [int(k) for k in axes]
    return x.mean(dim=axes, keepdim=bool(a.get("keepdims", 1)))

def reshape(a, x, shape):
    return x.reshape([x.shape[k] if s == 0 else s for k, s in enumerate(int(v) for v in shape)])

OPERATORS = {
    "Conv": conv, "MaxPool": max_pool, "AveragePool": average_pool, "Gemm": gemm, "BatchNormalization": batch_norm, "Clip": clip,
    "Relu": lambda a, x: torch.relu(x), "Sigmoid": lambda a, x: torch.sigmoid(x), "Tanh": lambda a, x: torch.tanh(x),
    "LeakyRelu": lambda a, x: F.leaky_relu(x, a.get("alpha", 0.01)), "HardSigmoid": lambda a, x: torch.clamp(a.get("alpha", 0.2) * x + a.get("beta", 0.5), 0, 1),
    "HardSwish": lambda a, x: F.hardswish(x), "Softmax": lambda a, x: torch.softmax(x, a.get("axis", -1)),
    "Add": lambda a, x, y: x + y, "Sub": lambda a, x, y: x - y, "Mul": lambda a, x, y: x * y, "Div": lambda a, x, y: x / y,
    "MatMul": lambda a, x, y: x @ y, "Concat": lambda a, *x: torch.cat(x, a["axis"]), "Identity": lambda a, x: x, "Dropout": lambda a, x: x,
    "GlobalAveragePool": lambda a, x: x.mean(dim=tuple(range(2, x.dim())), keepdim=True), "ReduceMean": reduce_mean, "Reshape": reshape,
    "Flatten": lambda a, x: x.flatten(a.get("axis", 1)), "Transpose": lambda a, x: x.permute(a["perm"]),
}

def network(program):
    blob = bytearray(open(program["weights"], "rb").read())
    whole = torch.frombuffer(blob, dtype=torch.float32) if len(blob) > 0 else torch.zeros(0)
    values = {}
    for c in program["constants"]:
        if "values" in c:
            values[c["name"]] = torch.tensor([int(v) for v in c["values"]]).reshape(c["shape"])
        else:
            size = 1
            for d in c["shape"]:
                size *= d
            values[c["name"]] = whole[c["offset"]:c["offset"] + size].reshape(c["shape"])
    nodes = program["nodes"]
    missing = sorted({n["type"] for n in nodes} - set(OPERATORS))
    if missing:
        raise NotImplementedError("the PyTorch peer has no " + ", ".join(missing))
    last = {}
    for k, n in enumerate(nodes):
        for i in n["inputs"]:
            last[i] = k
    def run(feeds, kept):
        v = {**values, **feeds}
        for k, n in enumerate(nodes):
            v[n["outputs"][0]] = OPERATORS[n["type"]](n["attributes"], *[v[i] if i else None for i in n["inputs"]])
            for i in n["inputs"]:
                if last[i] == k and i not in values and i not in kept:
                    v.pop(i, None)
        return v
    return run
`;

/** Speaks as child-main.ts does. */
export const TORCH_PROGRAM = `${TORCH_NETWORK}
def answer(value):
    sys.stdout.write("\\n${MARK}" + json.dumps(value) + "\\n")
    sys.stdout.flush()

def floats(path, shape):
    return torch.frombuffer(bytearray(open(path, "rb").read()), dtype=torch.float32).reshape(shape)

def load(job):
    whole = network(job["program"])
    def run(feeds):
        with torch.inference_mode():
            v = whole(feeds, job["outputs"])
            return torch.cat([v[o].reshape(-1) for o in job["outputs"]])
    return run

run = feeds = None
for line in sys.stdin:
    try:
        command = json.loads(line)
        if "job" in command:
            run = load(command["job"])
            answer({"ready": True})
            continue
        if "feeds" in command:
            feeds = {f["name"]: floats(f["file"], f["shape"]) for f in command["feeds"]}
        began = time.perf_counter()
        for _ in range(command["run"]):
            output = run(feeds)
        ms = (time.perf_counter() - began) * 1000 / command["run"]
        with open(command["output"], "wb") as f:
            f.write(bytes(output.contiguous().untyped_storage()))
        answer({"ms": ms})
    except Exception as error:
        answer({"error": type(error).__name__ + ": " + str(error)})
`;
