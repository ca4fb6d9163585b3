"""Every experiment runs from end to end on a tiny case and writes its numbers."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

FOLDER = ROOT / "experiments"
SHARED = {"common.py", "interfaces.py", "ladder.py"}
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py") if path.name not in SHARED)
MISSING_DATA = 77
"""Exit status of a script whose data are missing (experiments/common.py)."""


@pytest.mark.long
@pytest.mark.parametrize("script", SCRIPTS)
def test_every_experiment_has_a_smoke_run(script, tmp_path):
    out = tmp_path / "out"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(FOLDER / script), "--smoke", "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
        timeout=1200,
    )
    if done.returncode == MISSING_DATA:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((out / "results.json").read_text())
    assert len(results) > 1
    assert "commit" in results["made"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_page_of_results_names_every_experiment(script):
    assert f"`{script}`" in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_experiment_writes_its_results_with_their_origin(script):
    assert "write_results(" in (FOLDER / script).read_text(encoding="utf-8")
