"""The page for JAX researchers: its blocks run in order and their assertions hold."""

import re

import pytest

from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "research.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


# jax-md's own neighbour list does this in float64.
@pytest.mark.long
@pytest.mark.filterwarnings("ignore:scatter inputs have incompatible types:FutureWarning")
def test_every_block_runs(capsys):
    names = {}
    for number, block in enumerate(BLOCKS, 1):
        exec(compile(block, f"research.md, block {number}", "exec"), names)
    printed = capsys.readouterr().out
    assert "cace" in printed
    assert "H, O" in printed
    assert "parameters" in printed
