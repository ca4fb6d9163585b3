"""The documentation site builds without a warning and needs no network."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest
import yaml

from tests.support.paths import ROOT

needs_mkdocs = pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None, reason="needs the extra docs"
)


class _Loader(yaml.SafeLoader):
    """Reads the settings of MkDocs without the tags of Python objects."""


def names_in(nav):
    for entry in nav:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            yield from [value] if isinstance(value, str) else names_in(value)


def test_every_page_is_in_the_navigation():
    settings = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)
    named = list(names_in(settings["nav"]))
    assert len(named) == len(set(named))
    written = {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}
    assert written <= set(named)


@needs_mkdocs
@pytest.mark.long
def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""
    for path in tmp_path.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"(?:src|<link[^>]*href)=[\"']?https?://", text) == [], path
        for source in re.findall(r"<img[^>]*src=[\"']?([^\"' >]+)", text):
            assert (path.parent / source).exists(), (path, source)
        # Every equation became MathML.
        assert "arithmatex" not in text, path
