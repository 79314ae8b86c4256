"""Writes the images that ship with the network: mildly augmented JPEG, a folder a class, named STYLE-NUMBER.jpg.

  python images.py --sprites sprites.npz --out ../../models/images

`train` holds the seen styles only, `val` both; the held-out style is in `val` alone. No picture is one that training drew.
"""
import argparse
from pathlib import Path

import torch
from PIL import Image
from torch.nn import functional as F

import data
from render import STYLES, classes
from train import HELD_OUT

STRENGTH = 0.4
TRAIN, VAL_SEEN, VAL_HELD = 10, 3, 3  # pictures a class
QUALITY = 85
SEED = 2 * 10**9


def pictures(pixels, draw):
    """Composed at twice the size and averaged, so that edges are smooth; uint8 [n, 64, 64, 3]."""
    size = 2 * data.SIZE
    image = data.compose(pixels, data.backgrounds(len(pixels), draw, size), draw, STRENGTH, size)
    return (F.avg_pool2d(image, 2) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sprites", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    sprites = data.load(args.sprites)
    held = STYLES.index(HELD_OUT)
    for label, entry in enumerate(classes()):
        own = torch.nonzero(sprites.labels == label).flatten()
        seen, other = own[sprites.styles[own] != held], own[sprites.styles[own] == held]
        # Styles in turn; the validation images start at another style for each class.
        train = [seen[k % len(seen)] for k in range(TRAIN)]
        val = [seen[(label + k) % len(seen)] for k in range(VAL_SEEN)] + [other[0]] * VAL_HELD
        draw = data.Draw(SEED + label)
        for part, choice in (("train", train), ("val", val)):
            folder = args.out / part / entry["name"]
            folder.mkdir(parents=True, exist_ok=True)
            index = torch.stack(choice)
            for number, (sprite, picture) in enumerate(zip(index, pictures(sprites.pixels[index], draw), strict=True)):
                path = folder / f"{STYLES[sprites.styles[sprite]]}-{number}.jpg"
                Image.fromarray(picture).save(path, quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main()
