"""Densities of a channel and of its parts on images of each concept, as SVG.

Usage: python density.py EVALUATION.json EVALUATION.npz --channel C --out FILE.svg
"""

import argparse
import json
from html import escape

import numpy as np
import pandas as pd

WIDTH, HEIGHT, MARGIN = 520, 170, 34
COLOURS = ["#0067a8", "#b34700", "#00745a", "#9b3f7f", "#6a5d00"]


def read(json_path: str, npz_path: str, channel: int) -> pd.DataFrame:
    """One row a curve: of what, on images of which concept, and its 200 points. Names are the JSON's, numbers the npz's."""
    with open(json_path, encoding="utf-8") as file:
        channels = json.load(file)["channels"]
    place = next((k for k, c in enumerate(channels) if c["channel"] == channel), None)
    if place is None:
        raise SystemExit(f"channel {channel} was not evaluated: there are {[c['channel'] for c in channels]}")
    arrays = np.load(npz_path)
    return pd.DataFrame(
        {
            "of": curve["of"],
            "concept": curve["concept"],
            "x": arrays[f"channels.{place}.densities.{k}.x"],
            "y": arrays[f"channels.{place}.densities.{k}.y"],
        }
        for k, curve in enumerate(channels[place]["densities"])
    )


def panel(curves: pd.DataFrame, title: str, top: int, concepts: list) -> str:
    """One set of axes: a curve for each concept."""
    low, high = min(x.min() for x in curves["x"]), max(x.max() for x in curves["x"])
    peak = max(y.max() for y in curves["y"])
    across = lambda x: MARGIN + (x - low) / (high - low) * (WIDTH - 2 * MARGIN)
    down = lambda y: top + HEIGHT - MARGIN - y / peak * (HEIGHT - 2 * MARGIN)
    base = top + HEIGHT - MARGIN
    lines = [
        f'<text x="{MARGIN}" y="{top + 22}" font-weight="600">{escape(title)}</text>',
        f'<path d="M{MARGIN} {base}H{WIDTH - MARGIN}" stroke="#888"/>',
    ]
    for value in (low, high):
        anchor = "start" if value == low else "end"
        lines.append(f'<text x="{across(value):.1f}" y="{base + 15}" text-anchor="{anchor}" fill="#555">{value:.3g}</text>')
    for _, curve in curves.iterrows():
        points = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in zip(curve["x"], curve["y"]))
        colour = COLOURS[concepts.index(curve["concept"]) % len(COLOURS)]
        name = escape(f'{title} on images of {curve["concept"]}')
        lines.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"><title>{name}</title></polyline>'
        )
    return "\n".join(lines)


def draw(curves: pd.DataFrame, channel: int) -> str:
    concepts = list(dict.fromkeys(curves["concept"]))
    panels = [
        panel(group, of, 30 + k * HEIGHT, concepts)
        for k, (of, group) in enumerate(curves.groupby("of", sort=False))
    ]
    legend = "".join(
        f'<tspan fill="{COLOURS[k % len(COLOURS)]}" dx="12">{escape(name)}</tspan>' for k, name in enumerate(concepts)
    )
    height = 40 + HEIGHT * len(panels)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n'
        f'<text x="{MARGIN}" y="20">channel {channel}:{legend}</text>\n' + "\n".join(panels) + "\n</svg>\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("json")
    parser.add_argument("npz")
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    curves = read(args.json, args.npz, args.channel)
    with open(args.out, "w", encoding="utf-8") as file:
        file.write(draw(curves, args.channel))
    # A density's area is 1; what lies beyond the ends of the curve is little.
    curves["area"] = [np.sum((y[1:] + y[:-1]) / 2 * np.diff(x)) for x, y in zip(curves["x"], curves["y"])]
    curves["peak"] = [x[np.argmax(y)] for x, y in zip(curves["x"], curves["y"])]
    print(curves[["of", "concept", "area", "peak"]].to_csv(index=False), end="")


if __name__ == "__main__":
    main()
