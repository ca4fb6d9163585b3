"""The page on devices and export runs on four devices, and sharding changes no result."""

import json
import re
from functools import cache

import pytest

from tests.support.marks import long
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


@cache
def four_devices(*parts):
    """What tests/support/four_devices.py finds in these parts, compiled in one process."""
    printed = on_devices(4, "-m", "tests.support.four_devices", *parts)
    return json.loads(printed.splitlines()[-1])


QUICK = ("shards of direct sums", "ewald", "model", "shared training")


def comparison(part):
    return four_devices(*QUICK if part in QUICK else (part,))[part]


@pytest.mark.parametrize(
    ("part", "rounding"),
    [
        ("shards of direct sums", ROUNDING),
        long("shards of direct sums, second derivatives", ROUNDING),
        long("shards of a mesh, second derivatives", 1e-11),
    ],
)
def test_shards_of_multipoles_have_the_energy_and_derivatives_of_the_whole(part, rounding):
    """In several chunks per device; a mesh adds up in another order."""
    found = comparison(part)
    assert max(found["errors"]) < rounding
    assert set(found["collectives"]) == {"all-reduce"}


@pytest.mark.parametrize("axes", ["Explicit", "Auto"])
@pytest.mark.parametrize("part", ["ewald", long("pme"), "model", long("training")])
def test_sharded_atoms_and_batches_change_no_result(part, axes):
    found = comparison(part)[axes]
    assert max(found["errors"]) < ROUNDING
    if axes == "Explicit":
        assert found["spec"] == found["expected_spec"]


def test_a_training_that_shares_batches_sends_nothing_but_sums():
    """Gradient, loss and `Errors` of a step, counts of labels before them; with a filler."""
    found = comparison("shared training")
    assert found["filler"] == 1
    assert max(*found["errors"], *found["errors of validation"]) < ROUNDING
    assert all(found["replicated"])
    assert {name for name, _ in found["sent"]} == {"all-reduce"}
    numbers = 1 + 4 * found["labels"]
    assert sum(size for _, size in found["sent"]) <= found["bytes of parameters"] + 8 * numbers
