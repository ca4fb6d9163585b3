"""Runs a tutorial of docs/tutorials: its files, its commands and its Python, in order.

    python tools/tutorial.py spectrum --out tutorial/spectrum
    python tools/tutorial.py spectrum --small     # a tiny case, in a temporary folder

The data are named data sets (JLES_DATA) and published models beside them. `--small` cuts the
data and replaces numbers of steps; it shows that every command runs, not that the results are
good.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ase.io import read, write

from jles.data.sets import data_set, published_model

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "tutorials"

DATA = {
    "spectrum": {
        "water.xyz": ("water-rpbe-d3/ef.xyz", ":"),
        "test.xyz": ("water-rpbe-d3/ef_bec.xyz", ":"),
    },
    "charged-molecule": {"chain.xyz": ("4g-hdnnp-n2p2/Carbon_chain_4G.xyz", ":")},
    "lo-to": {"mgo.xyz": ("ionic-crystals-phonopy/MgO.xyz", ":")},
    "ferroelectric": {},
    "fine-tuning": {"born.xyz": ("water-rpbe-d3/ef_bec.xyz", ":")},
    "many-cores": {"water.xyz": ("water-rpbe-d3/ef.xyz", ":")},
    "research-script": {"born.xyz": ("water-rpbe-d3/ef_bec.xyz", ":8")},
    "slab": {},
}
"""Files that a tutorial starts from, by page: named data set and frames."""

MODELS = {"ferroelectric": "pbtio3_phase_4.pth", "fine-tuning": "water_v1.pth"}
"""The published model that a page calls `published.pth`."""

SMALL_FRAMES = {
    "water.xyz": ":4",
    "test.xyz": ":1",
    "chain.xyz": ":104:9",
    "born.xyz": ":4",
    "mgo.xyz": ":4",
}

_TINY = "model.backbone.n_rbf=2 model.backbone.l_max=1 model.backbone.cutoff=3.0 "
_NO_FORCES = "model.energy.scale=1e-4 model.charges.scale=1e-3"
SMALL = {
    "spectrum": {
        # Almost no forces: with those of a model that learned nothing, atoms fly apart.
        "--set epochs=200 validate_every=5": f"--set epochs=1 {_NO_FORCES} {_TINY}",
        "loss.energy={0: 1.0, 180: 10.0}": "loss.energy=1.0",
        "steps: 8000": "steps: 40",
        "steps: 20000": "steps: 400",
        "jles analyse ir run": "jles analyse ir run --resolution 400",
    },
    "charged-molecule": {
        "--set validate_every=10": f"--set epochs=2 loss.energy=1.0 {_TINY}",
        "0::51": "0::6",
    },
    "lo-to": {"--set epochs=100 validate_every=10": f"--set epochs=1 {_TINY}"},
    "ferroelectric": {
        "* (2, 2, 2)": "* (1, 1, 1)",
        "steps: 200": "steps: 5",
        "steps: 2500": "steps: 100",
        "period: 4000": "period: 160",
        "current: 5, positions: 50": "current: 1, positions: 10",
        "thermo: 5": "thermo: 1",
    },
    "fine-tuning": {
        "born.xyz@0:20": "born.xyz@0:1",
        "born.xyz@20:24": "born.xyz@1:2",
        "born.xyz@50:70": "born.xyz@2:3",
        "epochs: 40": "epochs: 1",
    },
    "many-cores": {
        "'loss.energy={0: 1, 18: 10}' validate_every=10": "",
        "epochs=20": f"epochs=1 {_NO_FORCES} {_TINY}",
        "run             200": "run             4",
        "thermo          10": "thermo          1",
    },
    "research-script": {},
    "slab": {
        "* (2, 2, 3)": "* (2, 2, 1)",
        '"steps": 600': '"steps": 10',
        '"steps": 2500': '"steps": 100',
        "--skip 1": "--skip 0.02",
        "skip=1000.0": "skip=20.0",
    },
}
"""Replacements of the tiny case."""

_BLOCK = re.compile(r'^```(sh|yaml|text|python)(?: title="([^"]+)")?\n(.*?)^```', re.M | re.S)


def blocks(name: str, small: bool) -> list[tuple[str, str, str]]:
    """Language, file name and text of the blocks of a page."""
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    for old, new in SMALL[name].items() if small else ():
        if old not in text:
            raise SystemExit(f"{name}.md: does not contain {old!r}; correct tools/tutorial.py")
        text = text.replace(old, new)
    return _BLOCK.findall(text)


def run(name: str, out: Path, small: bool) -> None:
    """Runs a page in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    for file, (source, frames) in DATA[name].items():
        chosen = SMALL_FRAMES[file] if small else frames
        write(out / file, read(data_set(source), chosen), format="extxyz")
    if name in MODELS:
        shutil.copyfile(published_model(MODELS[name]), out / "published.pth")
    names = {"__name__": "tutorial"}
    os.chdir(out)
    for language, file, text in blocks(name, small):
        print(f"--- {file or language}\n{text}", flush=True)
        if file:
            Path(file).write_text(text, encoding="utf-8")
        elif language == "sh":
            _shell(text)
        elif language == "python":
            exec(compile(text, f"{name}.md", "exec"), names)


def _shell(text: str) -> None:
    """Runs commands with the `jles` of this Python; stops at the first failure."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "jles"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m jles "$@"\n')
        program.chmod(0o755)
        places = [folder, str(Path(sys.executable).parent), os.environ["PATH"]]
        environment = os.environ | {"PATH": os.pathsep.join(places)}
        command = ["bash", "-euo", "pipefail", "-c", text]
        subprocess.run(command, check=True, env=environment)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(DATA), help="page of docs/tutorials")
    parser.add_argument("--out", type=Path, help="folder to work in (a temporary one)")
    parser.add_argument("--small", action="store_true", help="a tiny case")
    arguments = parser.parse_args()
    if arguments.out is not None:
        run(arguments.name, arguments.out, arguments.small)
        return
    with tempfile.TemporaryDirectory() as folder:
        run(arguments.name, Path(folder), arguments.small)


if __name__ == "__main__":
    main()
