"""A study in NumPy and pandas: relevant classes, average relevance vectors made anew, cosines.

Usage: python study.py STUDY.npz STUDY.csv --channel C [--p 0.75]
"""

import argparse

import numpy as np
import pandas as pd


def relevant_classes(table: pd.DataFrame, p: float) -> pd.Series:
    """The classes that each channel is relevant for: important on at least the share p of their images."""
    enough = table[table["important"] >= p * table["images"] * (1 - 1e-12)]
    return enough.groupby("channel")["class"].apply(list)


def relevance_vectors(study, channel: int) -> np.ndarray:
    """[T, I/groups] what each input of the channel contributes on average, by class; NaN for a class without images."""
    weights = study["weights"].astype(np.float64)
    outputs, per_group, _ = weights.shape
    groups = study["tap_sums"].shape[2] // per_group
    first = channel // (outputs // groups) * per_group
    sums = study["tap_sums"].sum(axis=1)[:, first : first + per_group]  # [T, I/groups, K]: folds added up
    images = study["images"].sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums / images[:, None, None]
    return study["sign"][channel] * (mean * weights[channel]).sum(axis=2)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("npz")
    parser.add_argument("csv")
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--p", type=float, default=0.75)
    args = parser.parse_args()

    study = np.load(args.npz)
    table = pd.read_csv(args.csv)
    relevant = relevant_classes(table[table["tau"] == study["taus"][0]], args.p)
    several = relevant[relevant.map(len) > 1]
    print(f"{len(relevant)} channels are relevant for a class, {len(several)} for two or more")

    vectors = relevance_vectors(study, args.channel)
    if "channels" in study.files and args.channel in study["channels"]:
        exported = study["arvs"][list(study["channels"]).index(args.channel)]
        off = np.nanmax(np.abs(vectors - exported)) / np.nanmax(np.abs(exported))
        print(f"made anew, the relevance vectors differ from the exported ones by {off:.1e} of the largest")

    names = study["classes"]
    classes = relevant.get(args.channel, [])
    pairs = [(a, b) for k, a in enumerate(classes) for b in classes[k + 1 :]]
    cosines = pd.DataFrame(
        [(names[a], names[b], cosine(vectors[a], vectors[b])) for a, b in pairs],
        columns=["class 1", "class 2", "cosine"],
    )
    print(cosines.sort_values("cosine").to_csv(index=False), end="")


if __name__ == "__main__":
    main()
