"""Sums up a run of `unbraid conformance DIR --json` by operator, for docs/features.md.

  python summary.py RESULT.json DIR "ADAPTER" > docs/conformance.json        then: node scripts/features.mjs

A case counts for an operator if its model has no other (Constant apart): that is what ONNX's own test of one operator
looks like. Cases of several operators (functions written out, small networks) are counted together. Reasons for what is
unsupported are made general, so that equal ones add up.
"""
import collections
import datetime
import json
import pathlib
import re
import sys

import onnx
import onnx.defs

FIRST, LAST = 7, onnx.defs.onnx_opset_version()


def versions():
    """Of each operator, the opsets from 7 on whose definition holds: the last one up to 7, and all later ones."""
    found = collections.defaultdict(set)
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            found[schema.name].add(schema.since_version)
    out = {}
    for name, since in found.items():
        older = [v for v in since if v <= FIRST]
        out[name] = sorted([max(older)] if older else []) + sorted(v for v in since if v > FIRST)
    return out


def operators_of(path):
    model = onnx.load(path, load_external_data=False)
    types = {n.op_type if n.domain in ("", "ai.onnx") else f"{n.domain}.{n.op_type}" for n in model.graph.node}
    return sorted(types - {"Constant"}) or sorted(types)


def general(case):
    """Why a case is unsupported, without the names in it."""
    reason = case["reason"]
    if "OPSET_UNSUPPORTED: the model uses" in reason:
        return f"opset below {FIRST}"
    if reason.startswith("OPSET_UNSUPPORTED"):
        return "no version of ai.onnx imported"
    missing = re.search(r"OPERATORS_UNSUPPORTED.*\((.*)\)", reason)
    if missing:
        return f"operator {missing[1]}"
    code = re.search(r"data type (\d+)|element type (\d+)", reason)
    if code:
        name = onnx.TensorProto.DataType.Name(int(code[1] or code[2])).lower()
        return f"element type {name}"
    if "of type string" in reason:
        return "strings"
    if "other than tensor" in reason or "sequence, map or optional" in reason:
        return "sequences, maps, optionals"
    return re.sub(r'^\w+: (?:\w+ "[^"]*": )?', "", reason)


def missing(row, name):
    return row is not None and f"operator {name}" in row["unsupported"]


def main():
    result, folder, adapter = json.loads(pathlib.Path(sys.argv[1]).read_text()), pathlib.Path(sys.argv[2]), sys.argv[3]
    operators, several = {}, {"pass": 0, "fail": 0, "unsupported": {}}
    fresh = lambda: {"pass": 0, "fail": 0, "unsupported": {}}
    for case in result["cases"]:
        types = operators_of(folder / case["name"] / "model.onnx")
        row = operators.setdefault(types[0], fresh()) if len(types) == 1 else several
        if case["status"] == "unsupported":
            reason = general(case)
            row["unsupported"][reason] = row["unsupported"].get(reason, 0) + 1
        else:
            row[case["status"]] += 1
    out = {
        "date": datetime.date.today().isoformat(),
        "adapter": adapter,
        "onnx": onnx.__version__,
        "pass": result["pass"],
        "fail": result["fail"],
        "unsupported": result["unsupported"],
        "versions": {k: v for k, v in sorted(versions().items()) if not missing(operators.get(k), k)},
        "operators": dict(sorted(operators.items())),
        "several": several,
    }
    print(json.dumps(out, indent=1))


main()
