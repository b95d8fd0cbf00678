#!/usr/bin/env python3
"""Fails if a file under src/ includes a folder that its own folder may not (the table in CONTRIBUTING.md)."""
import pathlib
import re
import sys

MAY_INCLUDE = {
    "base": set(),
    "formats": {"base"},
    "kernels": {"base"},
    "model": {"kernels", "formats", "base"},
    "train": {"model", "kernels", "formats", "base"},
    "grammar": {"formats", "base"},
    "engine": {"grammar", "model", "formats", "base"},
    "capi": {"engine", "grammar", "formats", "base"},
    "tuning": {"engine", "train", "model", "formats", "base"},
    "http": {"formats", "base"},
    "images": {"http", "formats", "base"},
    "server": {"images", "http", "tuning", "train", "grammar", "engine", "formats", "base"},
    "cli": {"server", "images", "http", "tuning", "engine", "train", "model", "formats", "base"},
}


def violations(source):
    for path in sorted(source.rglob("*")):
        if path.suffix not in (".h", ".cc"):
            continue
        folder = path.relative_to(source).parts[0]
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = re.match(r'#include "([^"]+)"', line)
            if not match:
                continue
            target = match.group(1).split("/")[0]
            if folder == "capi" and target == "chorus.h":
                continue
            if target not in MAY_INCLUDE:
                yield f"{path}:{number}: {match.group(1)} is not a path from src/"
            elif target != folder and target not in MAY_INCLUDE[folder]:
                yield f"{path}:{number}: {folder}/ may not include {target}/"


def main():
    source = pathlib.Path(__file__).resolve().parent.parent / "src"
    found = list(violations(source))
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
