"""The page on devices and export runs on four devices, and sharding changes no result."""

import json
import re

import pytest

from tests.support.paths import ROOT
from tests.support.programs_on_devices import on_devices

PAGE = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
ROUNDING = 1e-12


@pytest.mark.long
def test_every_block_runs_on_four_devices(tmp_path):
    script = tmp_path / "page.py"
    check = "\nassert jax.device_count() == 4\n"
    script.write_text("\n\n".join(BLOCKS) + check, encoding="utf-8")
    on_devices(4, script)


@pytest.fixture(scope="module")
def comparisons():
    """Results of tests/support/four_devices.py, by name."""
    return json.loads(on_devices(4, "-m", "tests.support.four_devices").splitlines()[-1])


@pytest.mark.parametrize(("method", "rounding"), [("direct", ROUNDING), ("mesh", 1e-11)])
def test_shards_of_multipoles_have_the_energy_and_derivatives_of_the_whole(
    comparisons, method, rounding
):
    """In several chunks per device, to second order; a mesh adds up in another order."""
    found = comparisons[f"shard_map {method}"]
    assert max(found["errors"]) < rounding
    assert set(found["collectives"]) == {"all-reduce"}


@pytest.mark.parametrize("axes", ["Explicit", "Auto"])
@pytest.mark.parametrize("what", ["ewald", "pme", "model", "training"])
def test_sharded_atoms_and_batches_change_no_result(comparisons, axes, what):
    found = comparisons[f"{what} {axes}"]
    assert max(found["errors"]) < ROUNDING
    if axes == "Explicit":
        assert found["spec"] == found["expected_spec"]


def test_a_training_that_shares_batches_sends_nothing_but_sums(comparisons):
    """Gradient, loss and `Errors` of a step, counts of labels before them; with a filler."""
    found = comparisons["shared"]
    assert found["filler"] == 1
    assert max(*found["errors"], *found["errors of validation"]) < ROUNDING
    assert all(found["replicated"])
    assert {name for name, _ in found["sent"]} == {"all-reduce"}
    numbers = 1 + 4 * found["labels"]
    assert sum(size for _, size in found["sent"]) <= found["bytes of parameters"] + 8 * numbers
