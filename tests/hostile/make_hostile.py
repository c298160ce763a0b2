#!/usr/bin/env python3
"""Writes the hostile inputs and manifest.json, the command lines that read them, into a new folder.
Every run writes the same bytes. usage: make_hostile.py DIR"""
import os
import sys

sys.dont_write_bytecode = True
import data
import models
import pictures
import weights
from suite import Suite


def make(root):
    s = Suite(root, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    for part in (models, weights, pictures, data):
        part.add(s)
    s.save()
    return s.cases


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    os.makedirs(sys.argv[1])
    print(len(make(sys.argv[1])), "cases")
