"""Trains the demo network, on the CPU, with checkpoints that it can go on from.

  python train.py --sprites sprites.npz --out run [--steps N] [--resume]

SGD with Nesterov momentum. The learning rate warms up, stays, and falls linearly to zero over the last part of the steps;
augmentation is eased in. The weights kept are a running average of the iterates. Every draw depends on the seed and the
step alone, so a run that was interrupted and resumed is the run that was not (to rounding, whose order the threads set).
Writes run/checkpoint.pt now and then, run/model.pt (averaged weights) beside it, run/log.jsonl.
"""
import argparse
import copy
import json
import os
import time
from pathlib import Path

import torch
from torch.nn import functional as F

import data
from net import Net, normalise

HELD_OUT = "tw"
SEED = 1
POOL = 4096  # backgrounds made once and drawn from


def accuracy(net, images, labels):
    """Top-1 share."""
    net.eval()
    with torch.no_grad():
        right = sum(
            (net(normalise(x)).argmax(1) == y).sum().item()
            for x, y in zip(images.split(256), labels.split(256), strict=True)
        )
    return right / len(labels)


def evaluation_sets(sprites):
    """name -> (pictures, labels): clean ones, and augmented ones from seeds that training does not use."""
    seen, held = sprites.split(HELD_OUT)
    return {
        "seen clean": (data.clean(seen.pixels), seen.labels),
        "seen full": (data.augmented(seen.pixels, 10**9 + 1, 1.0), seen.labels),
        "held clean": (data.clean(held.pixels), held.labels),
        "held mild": (data.augmented(held.pixels, 10**9 + 2, 0.4, 3), held.labels.repeat_interleave(3)),
        "held full": (data.augmented(held.pixels, 10**9 + 3, 1.0, 5), held.labels.repeat_interleave(5)),
    }


def learning_rate(step, args):
    decay = args.steps * args.decay
    return args.rate * min(1, (step + 1) / args.warmup, (args.steps - step) / decay)


def average(mean, net, decay):
    """Moves the running average towards the network, statistics of BatchNorm included."""
    with torch.no_grad():
        for m, p in zip(mean.state_dict().values(), net.state_dict().values(), strict=True):
            if m.dtype.is_floating_point:
                m.lerp_(p, 1 - decay)
            else:
                m.copy_(p)


def save(path, value):
    torch.save(value, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def batch_of(step, seen, pool, args):
    draw = data.Draw(SEED * 10**6 + step)
    strength = min(1.0, 0.4 + 0.6 * step / args.ease)
    choice = draw.pick(len(seen.labels), args.batch)
    behind = pool[draw.pick(len(pool), args.batch)].float().div_(255)
    images = data.compose(seen.pixels[choice], behind, draw, strength)
    return normalise(data.cutout(images, draw, 0.3 * min(1.0, step / args.ease))), seen.labels[choice]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sprites", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--warmup", type=int, default=300)
    parser.add_argument("--ease", type=int, default=2000, help="steps until augmentation is full")
    parser.add_argument("--decay", type=float, default=0.5, help="last share of the steps, where the rate falls")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    args.out.mkdir(parents=True, exist_ok=True)

    sprites = data.load(args.sprites).halved()
    seen, _ = sprites.split(HELD_OUT)
    sets = evaluation_sets(sprites)
    background_draw = data.Draw(SEED)
    pool = torch.cat([(data.backgrounds(256, background_draw) * 255).round().to(torch.uint8) for _ in range(POOL // 256)])

    net = Net().to(memory_format=torch.channels_last)
    mean = copy.deepcopy(net)
    # BatchNorm's scales and shifts are not decayed.
    groups = [
        {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": 5e-4},
        {"params": [p for p in net.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.SGD(groups, lr=args.rate, momentum=0.9, nesterov=True)
    step, spent = 0, 0.0
    if args.resume:
        state = torch.load(args.out / "checkpoint.pt", weights_only=True)
        net.load_state_dict(state["net"])
        mean.load_state_dict(state["mean"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = state["step"], state["seconds"]

    start, total, count = time.monotonic() - spent, 0.0, 0
    while step < args.steps:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, args)
        images, labels = batch_of(step, seen, pool, args)
        net.train()
        loss = F.cross_entropy(net(images), labels, label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
        average(mean, net, min(0.998, step / (step + 10)))
        total, count = total + loss.item(), count + 1
        if step % args.every == 0 or step == args.steps:
            seconds = time.monotonic() - start
            report = {"step": step, "seconds": round(seconds), "loss": round(total / count, 4)}
            report |= {name: round(accuracy(mean, *pictures), 4) for name, pictures in sets.items()}
            with open(args.out / "log.jsonl", "a") as file:
                file.write(json.dumps(report) + "\n")
            print(json.dumps(report), flush=True)
            total, count = 0.0, 0
            state = {"net": net.state_dict(), "mean": mean.state_dict(), "optimiser": optimiser.state_dict()}
            save(args.out / "checkpoint.pt", state | {"step": step, "seconds": seconds})
            save(args.out / "model.pt", mean.state_dict())


if __name__ == "__main__":
    main()
