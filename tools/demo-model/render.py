"""Rasterises the drawings of every class and style into one file of sprites.

  python render.py --packages DIR --out sprites.npz [--fetch]

--fetch runs `npm pack NAME@VERSION` in DIR for each of the eight packages. The packed files are read as they are.
A sprite is the drawing cut to its alpha box and centred in a square, so that all styles have a like scale.
Writes `sprites` (uint8, premultiplied RGBA, [n, 4, SIDE, SIDE]), `labels` ([n], index into classes.json) and
`styles` ([n], index into STYLES).
"""
import argparse
import io
import json
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image

# style -> (package, exact version)
PACKAGES = {
    "noto": ("@iconify-json/noto", "1.2.9"),
    "blob": ("@iconify-json/noto-v1", "1.2.5"),
    "tw": ("@iconify-json/twemoji", "1.2.5"),
    "emojione": ("@iconify-json/emojione", "1.2.3"),
    "fx": ("@iconify-json/fxemoji", "1.2.2"),
    "flat": ("@iconify-json/fluent-emoji-flat", "1.2.6"),
    "3d": ("@lobehub/fluent-emoji-3d", "1.1.0"),
    "stream": ("@iconify-json/streamline-emojis", "1.2.4"),
}
STYLES = list(PACKAGES)
SIDE = 144  # of a sprite, in pixels: twice what training samples from
MARGIN = 4  # empty pixels around the drawing
RASTER = 256  # side of the first rendering, before cutting


def classes():
    """The classes in logit order, which is the order of their names."""
    return json.loads((Path(__file__).parent / "classes.json").read_text())


def tarball(folder, style):
    name, version = PACKAGES[style]
    return folder / f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"


def fetch(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for style, (name, version) in PACKAGES.items():
        if not tarball(folder, style).exists():
            subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=folder, check=True)


class IconSet:
    """An Iconify package: `icons.json` holds the SVG bodies, and aliases that name other icons."""

    def __init__(self, path):
        with tarfile.open(path) as tar:
            self.data = json.load(tar.extractfile("package/icons.json"))

    def image(self, name):
        data = self.data
        while name not in data["icons"]:
            name = data["aliases"][name]["parent"]
        icon = data["icons"][name]
        left, top, width, height = (
            icon.get(key, data.get(key, default))
            for key, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
        )
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">{icon["body"]}</svg>'
        )
        png = resvg_py.svg_to_bytes(svg_string=svg, width=RASTER, height=RASTER)
        return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


class WebPSet:
    """A package of raster images named by code point."""

    def __init__(self, path):
        with tarfile.open(path) as tar:
            self.files = {m.name: tar.extractfile(m).read() for m in tar if m.name.endswith(".webp")}

    def image(self, name):
        return Image.open(io.BytesIO(self.files[f"package/assets/{name}.webp"])).convert("RGBA")


def sprite(image):
    """Premultiplied RGBA, uint8 [4, SIDE, SIDE], of the drawing cut to its alpha box and centred."""
    box = image.getchannel("A").point(lambda v: 255 if v > 16 else 0).getbbox()
    image = image.crop(box)
    scale = (SIDE - 2 * MARGIN) / max(image.size)
    size = tuple(max(1, round(s * scale)) for s in image.size)
    # Pillow resizes "RGBa" as it stands: premultiplied colours, so that no colour bleeds in from clear pixels.
    image = image.convert("RGBa").resize(size, Image.Resampling.LANCZOS)
    out = np.zeros((SIDE, SIDE, 4), np.uint8)
    x, y = (SIDE - size[0]) // 2, (SIDE - size[1]) // 2
    # After Lanczos a colour may exceed its alpha by ringing.
    pixels = np.asarray(image)
    out[y : y + size[1], x : x + size[0]] = np.minimum(pixels, pixels[..., 3:])
    return out.transpose(2, 0, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fetch", action="store_true")
    args = parser.parse_args()
    if args.fetch:
        fetch(args.packages)
    sprites, labels, styles = [], [], []
    for style in STYLES:
        path = tarball(args.packages, style)
        drawings = WebPSet(path) if style == "3d" else IconSet(path)
        for label, entry in enumerate(classes()):
            if style in entry["drawings"]:
                sprites.append(sprite(drawings.image(entry["drawings"][style])))
                labels.append(label)
                styles.append(STYLES.index(style))
    np.savez_compressed(args.out, sprites=np.stack(sprites), labels=np.array(labels), styles=np.array(styles))
    print(f"{len(sprites)} sprites of {len(classes())} classes in {len(STYLES)} styles")


if __name__ == "__main__":
    main()
