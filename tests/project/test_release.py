"""Wheel and source distribution: what they hold, and that they run where they are installed."""

import importlib.util
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile

import pytest
import yaml

import jles
from tests.support.paths import ROOT

needs_hatchling = pytest.mark.skipif(
    importlib.util.find_spec("hatchling") is None, reason="needs hatchling (extra test)"
)


def build(source, out):
    """Wheel and sdist of a source tree."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(out)],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (wheel,) = out.glob("*.whl")
    (sdist,) = out.glob("*.tar.gz")
    return wheel, sdist


def modules(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if name.endswith(".py")}


@needs_hatchling
@pytest.mark.long
def test_wheel_and_sdist_hold_everything_and_run_in_a_fresh_environment(tmp_path):
    wheel, sdist = build(ROOT, tmp_path / "first")
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "jles").rglob("*.py")}
    assert modules(wheel) == sources
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md", "docs/index.md"):
        assert (unpacked / name).exists(), name
    again, _ = build(unpacked, tmp_path / "second")
    assert modules(again) == sources

    place = tmp_path / "environment"
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    (packages,) = (place / "lib").glob("python*/site-packages")
    # Dependencies come from the environment of the tests, after what is installed here.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", again]
    subprocess.run(command, check=True)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def output(*arguments):
        return subprocess.run(
            arguments, check=True, capture_output=True, text=True, cwd=tmp_path, env=environment
        ).stdout

    where = output(python, "-c", "import jles; print(jles.__file__)")
    assert where.startswith(str(place))
    assert output(place / "bin" / "jles", "--version").strip() == f"jles {jles.__version__}"
    assert "everything is in order" in output(place / "bin" / "jles", "doctor")


def test_the_citation_names_this_version_and_its_sources():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == jles.__version__
    assert all(entry["doi"].startswith("10.") for entry in citation["references"])


def test_the_changelog_has_a_heading_for_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings[0] == "## [Unreleased]"
    assert headings[1].startswith(f"## [{jles.__version__}] - 20")


def test_the_page_of_licences_names_every_direct_dependency():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    names = {line.split(">")[0].split("!")[0].lower() for line in project["dependencies"]}
    assert {name for name in names if f"| {name} |" not in page} == set()
    assert "not declared" not in page
