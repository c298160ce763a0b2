#!/usr/bin/env python3
"""Which rows of bench/run became faster or slower? usage: compare.py OLD.json NEW.json

Prints graft's medians and their quotient; a row is marked where the two spreads do not overlap."""
import json
import sys

old, new = ({(r["job"], r["graft_variant"]): (r["graft"], r["unit"]) for r in json.load(open(p))["rows"]}
            for p in sys.argv[1:3])
for key, (b, unit) in new.items():
    if key in old:
        a = old[key][0]
        mark = "slower" if b["min"] > a["max"] else "faster" if b["max"] < a["min"] else ""
        print(f"{key[0]}, {key[1]}: {a['median']:.3g} -> {b['median']:.3g} {unit}, "
              f"x {b['median'] / a['median']:.2f} {mark}")
