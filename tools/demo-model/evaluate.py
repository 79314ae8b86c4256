"""Accuracy of the exported network, by style, in onnxruntime: the tables of models/README.md.

  python evaluate.py --sprites sprites.npz --models ../../models

Clean: each drawing once, as it is, on white. Mild and full: augmented pictures, five of each drawing. Shipped: the JPEG files.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

import data
from render import STYLES
from train import HELD_OUT

REPEATS = 5
SEED = 3 * 10**9


def top1(session, preprocess, images):
    """Predicted classes of RGB [n, 3, 64, 64] in 0..1."""
    mean, std = (np.array(preprocess[key], np.float32).reshape(3, 1, 1) for key in ("mean", "std"))
    batches = [
        session.run(["logits"], {"input": (images[start : start + 200] - mean) / std})[0]
        for start in range(0, len(images), 200)
    ]
    return np.concatenate(batches).argmax(1)


def shipped(folder, labels):
    """Pictures, class indices and style names of the files below a folder."""
    files = sorted(folder.glob("*/*.jpg"))
    pixels = np.stack([np.asarray(Image.open(f).convert("RGB"), np.float32) / 255 for f in files])
    return (
        pixels.transpose(0, 3, 1, 2),
        np.array([labels.index(f.parent.name) for f in files]),
        np.array([f.stem.split("-")[0] for f in files]),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sprites", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    args = parser.parse_args()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(args.models / "demo.onnx", options, providers=["CPUExecutionProvider"])
    preprocess = json.loads((args.models / "demo.preprocess.json").read_text())
    labels = json.loads((args.models / "demo-labels.json").read_text())

    sprites = data.load(args.sprites).halved()
    names = np.array(STYLES)[sprites.styles.numpy()]
    truth = sprites.labels.numpy()
    sets = {"clean": (data.clean(sprites.pixels).numpy(), truth, names)}
    for number, (name, strength) in enumerate((("mild", 0.4), ("full", 1.0))):
        images = data.augmented(sprites.pixels, SEED + number, strength, REPEATS)
        sets[name] = (images.numpy(), truth.repeat(REPEATS), names.repeat(REPEATS))
    for part in ("train", "val"):
        sets[f"shipped {part}"] = shipped(args.models / "images" / part, labels)

    results = {name: (top1(session, preprocess, x) == y, style) for name, (x, y, style) in sets.items()}
    rows = [(style, [style]) for style in STYLES]
    rows += [("seen styles", [s for s in STYLES if s != HELD_OUT]), ("held-out style", [HELD_OUT])]
    print("| style | " + " | ".join(results) + " |")
    print("| --- |" + " --- |" * len(results))
    for row, members in rows:
        cells = []
        for right, style in results.values():
            chosen = right[np.isin(style, members)]
            cells.append(f"{100 * chosen.mean():.1f} % of {len(chosen)}" if len(chosen) else "–")
        print(f"| {row} | " + " | ".join(cells) + " |")
    images, truth, _ = sets["clean"]
    wrong = np.flatnonzero(~results["clean"][0])
    for k, guess in zip(wrong, top1(session, preprocess, images[wrong]) if len(wrong) else [], strict=True):
        print(f"{names[k]}: {labels[truth[k]]} taken for {labels[guess]}")


if __name__ == "__main__":
    main()
