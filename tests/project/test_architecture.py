"""The rules of docs/architecture.md, read off the syntax trees of the package."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest

from tests.support.paths import ROOT

PACKAGE = ROOT / "jles"
SOURCES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = ("jles", "tests", "experiments", "benchmarks")

BASE = {"errors", "units", "typing", "version", "config", "files", "follow", "pictures"}
BASE |= {
    "cache_folder",
    "compiling",
    "lattice",
    "local_devices",
    "journal",
    "lock",
    "meshes",
    "products",
    "step_sizes",
    "strict_yaml",
    "suggestions",
    "sum_method",
}
PHYSICS = BASE | {"electrostatics", "structures", "bloch", "observables"}
CATALOGUE = PHYSICS | {"quantities"}
ABOVE = {
    "models",
    "data",
    "train",
    "predict",
    "jax_md",
    "dynamics",
    "domains",
    "lammps",
    "analysis",
    "interop",
    "demo",
    "distill",
    "doctor",
    "cli",
}
EVERYTHING = CATALOGUE | ABOVE
# What each unit may import besides itself, at the top of a file or inside a function.
MAY_IMPORT = {
    **{name: BASE for name in BASE},
    "electrostatics": BASE,
    "structures": BASE | {"electrostatics"},
    "bloch": BASE | {"electrostatics", "structures"},
    "observables": BASE | {"electrostatics", "structures", "bloch"},
    "quantities": PHYSICS,
    "models": PHYSICS,
    "data": BASE | {"electrostatics", "structures", "quantities"},
    "train": CATALOGUE | {"models", "data"},
    "predict": CATALOGUE | {"models"},
    "jax_md": CATALOGUE | {"models"},
    "dynamics": CATALOGUE | {"models", "predict", "jax_md", "domains"},
    "domains": CATALOGUE | {"models"},
    "lammps": CATALOGUE | {"models", "predict", "domains"},
    "interop": PHYSICS | {"models"},
    "analysis": BASE,
    "demo": CATALOGUE | {"models", "data", "train", "predict"},
    "distill": CATALOGUE | {"models", "data", "train", "predict"},
    "doctor": CATALOGUE | {"models"},
    "cli": EVERYTHING,
}
SLOW_TO_IMPORT = {"e3nn_jax", "jax_md", "matplotlib", "orbax", "rich"}


def unit_of(path):
    """The layer's name: the first folder or the module right below `jles`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "jles":
            yield from (f"jles.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def imported_at_once(tree):
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imported_modules(node)


def jles_units(modules):
    names = {module.split(".")[1] for module in modules if module.startswith("jles.")}
    return names - {"__version__"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down_the_layers(path):
    unit = unit_of(path)
    if unit in ("__init__", "__main__"):
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert jles_units(imported_modules(tree)) <= MAY_IMPORT[unit] | {unit}


def test_no_room_imports_itself_through_others():
    TopologicalSorter(
        {unit: allowed - BASE - {unit} for unit, allowed in MAY_IMPORT.items()}
    ).prepare()


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_file_imports_itself_through_others():
    """Imports inside functions count; names taken from a package count as its `__init__`."""
    files = {module_name(path): path for path in SOURCES}
    graph = {
        name: set(imported_files(ast.parse(path.read_text(encoding="utf-8")), files)) - {name}
        for name, path in files.items()
    }
    TopologicalSorter(graph).prepare()


def imported_files(tree, files):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield from [name for name in (whole, node.module) if name in files][:1]


def test_every_part_of_the_package_stands_on_the_architecture_page():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = [line for line in page.splitlines() if line.startswith("| `")]
    named = {
        name.rstrip("/")
        for line in table
        for name in re.findall(r"`([^`]+)`", line.split("|")[1])
    }
    present = {unit_of(path) for path in SOURCES} - {"__init__", "__main__"}
    assert present <= named
    assert named <= set(MAY_IMPORT)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_slow_packages_are_imported_where_they_are_used(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {module.split(".")[0] for module in imported_at_once(tree)}
    assert not names & SLOW_TO_IMPORT


@pytest.mark.parametrize("path", sorted((PACKAGE / "analysis" / "estimators").glob("*.py")))
def test_estimators_know_neither_files_nor_pictures(path):
    modules = list(imported_modules(ast.parse(path.read_text(encoding="utf-8"))))
    assert jles_units(modules) <= {"analysis", "errors", "units"}
    inside = [name for name in modules if name.startswith("jles.analysis")]
    assert all(name.startswith("jles.analysis.estimators.") for name in inside)
    assert not {name.split(".")[0] for name in modules} & {"h5py", "matplotlib", "pathlib"}


@pytest.mark.parametrize("module", ["jles", "jles.cli.main"])
def test_the_front_door_imports_nothing_heavy(module):
    heavy = {"jax", "numpy", "ase", "flax", "yaml"} | SLOW_TO_IMPORT
    program = f"import {module}, sys; print(sorted({heavy!r} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_file_is_longer_than_400_lines(folder):
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_no_machine_path_and_no_package_host_is_recorded():
    forbidden = re.compile(r"/work/|/tmp/x/|file://|https?://[^ ]*(pypi|pythonhosted)[^ ]*")
    found = []
    for name in ("pyproject.toml", "constraints.txt", "Makefile", ".ci/run", "tools/setup.sh"):
        text = (ROOT / name).read_text(encoding="utf-8")
        found += [(name, match.group()) for match in forbidden.finditer(text)]
    assert found == []


def test_constraints_are_exact_versions_and_nothing_else():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", line) for line in pins)
    assert {"jax==0.10.1", "jaxlib==0.10.1"} <= set(pins)
