"""The groups of classes.json as a hierarchy for `unbraid evaluate --hierarchy`: models/demo.hierarchy.json."""
import argparse
import json
from pathlib import Path

ROOT = "thing"
# Groups that have something in common; all others stand below the root.
ABOVE = {"animal": "living thing", "plant": "living thing", "fruit or vegetable": "food", "food and drink": "food"}

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "models" / "demo.hierarchy.json")
args = parser.parse_args()

classes = json.loads((Path(__file__).parent / "classes.json").read_text())
parents = {c["name"]: f"{c['group']} (group)" for c in classes}
for group in sorted({c["group"] for c in classes}):
    parents[f"{group} (group)"] = ABOVE.get(group, ROOT)
for above in sorted(set(ABOVE.values())):
    parents[above] = ROOT
args.out.write_text(json.dumps({"parents": parents}, indent=1) + "\n")
