"""Every command and every block of Python of the tutorials runs, on a tiny case."""

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT, data_path, model_path

SCRIPT = ROOT / "tools" / "tutorial.py"


def script():
    spec = importlib.util.spec_from_file_location("tutorial", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TUTORIAL = script()


def test_every_tutorial_can_be_run():
    pages = {path.stem for path in (ROOT / "docs" / "tutorials").glob("*.md")}
    assert pages == set(TUTORIAL.DATA) == set(TUTORIAL.SMALL)
    for page in pages:
        assert TUTORIAL.blocks(page, small=True)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(TUTORIAL.DATA))
def test_a_tutorial_runs_from_end_to_end(name, tmp_path):
    for source, _ in TUTORIAL.DATA[name].values():
        data_path(source)
    if name in TUTORIAL.MODELS:
        model_path(TUTORIAL.MODELS[name])
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), name, "--small", "--out", str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
