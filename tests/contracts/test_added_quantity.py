"""An entry that is added to the catalogue comes out everywhere."""

import numpy as np
import pytest
from ase.io import read

from jles.cli.main import main
from jles.errors import InputWarning
from jles.models.store import save_model
from jles.predict.committee import Committee
from jles.predict.model import Model
from jles.quantities.catalogue import QUANTITIES
from jles.quantities.quantity import Label, Quantity
from tests.support.small_systems import (
    rattled,
    small_config,
    small_model,
    write_frames,
)

CONFIG = small_config()

TOY = Quantity(
    "charge_squared",
    unit="e^2",
    shape=("atoms",),
    meaning="square of the latent charge",
    of=lambda at: at.bare_charges**2,
    rules=QUANTITIES["charges"].rules,
    key="q2",
    label=Label("charge_squared", "squared charge", key="q2_ref"),
)


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """A model directory, a file with labels, and a catalogue with one more entry."""
    monkeypatch.setitem(QUANTITIES, TOY.name, TOY)
    model = Model(CONFIG, small_model(CONFIG)[1], "float64")
    save_model(tmp_path / "model", CONFIG, model.params, {}, {})
    atoms = rattled(0, count=4, pbc=False)
    expected = model.predict(atoms, want=("charges",)).charges ** 2
    reference = atoms.copy()
    reference.arrays["q2_ref"] = expected + 0.5
    write_frames(tmp_path / "frames.xyz", [reference])
    return tmp_path, model, atoms, expected


def test_a_new_quantity_comes_out_of_predict_committee_and_calculator(toy):
    _, model, atoms, expected = toy
    np.testing.assert_allclose(model.predict(atoms, want=(TOY.name,)).charge_squared, expected)
    with pytest.warns(InputWarning, match="same parameters"):
        committee = Committee([model, model])
    committee = committee.predict(atoms, want=(TOY.name,))
    np.testing.assert_allclose(committee.mean.charge_squared, expected)
    np.testing.assert_allclose(committee.spread.charge_squared, 0.0, atol=1e-15)
    calculator = model.calculator()
    np.testing.assert_allclose(calculator.get_property(TOY.name, atoms), expected)


def test_a_new_quantity_comes_out_of_the_commands(toy, capsys):
    folder, _, _, expected = toy
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    assert "--charge-squared" in capsys.readouterr().out
    model, frames, out = (str(folder / name) for name in ("model", "frames.xyz", "out.xyz"))
    precise = ["--dtype", "float64"]
    assert main(["predict", model, frames, "-o", out, "--charge-squared", *precise]) == 0
    np.testing.assert_allclose(read(out).arrays["q2"], expected, atol=1e-7)
    assert main(["evaluate", model, frames, "--out", str(folder / "ev"), *precise]) == 0
    table = capsys.readouterr().out
    assert "squared charge" in table
    assert (folder / "ev" / "parity_charge_squared.png").exists()
