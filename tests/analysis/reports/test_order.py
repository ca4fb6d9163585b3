"""Order parameters of heating runs."""

import numpy as np

from jles.analysis.estimators.units import POLARIZATION
from jles.analysis.reports.order import order_parameter
from jles.analysis.run import open_run
from jles.cli.main import main
from tests.support.processes import write_run


def test_order_follows_a_second_order_transition(tmp_path, rng):
    frames, critical = 4000, 700.0
    temperature = np.linspace(300.0, 1100.0, frames)
    order = np.sqrt(np.clip(1.0 - temperature / critical, 0.0, None))
    polar = np.stack([0.0 * order, 0.0 * order, order], axis=1)
    volume = 1000.0 * (1.0 + 0.06 * order)
    cells = np.stack([np.diag([10.0, 10.0, 10.0 * (1.0 + 0.06 * o)]) for o in order])
    reference = np.array([30.0, -20.0, 10.0])  # on another branch
    branch = reference @ np.linalg.solve(cells[0], cells)
    dipole = 0.05 * volume[:, None] * polar + branch
    run = write_run(
        tmp_path / "heating",
        {
            "thermo": {"temperature": temperature, "cell": cells},
            "polarization": {"polarization": dipole, "cell": cells},
        },
    )
    table = order_parameter([open_run(run)], 40, zero=tuple(reference)).columns
    expected = np.sqrt(np.clip(1.0 - table["temperature (K)"] / critical, 0.0, None))
    found = table["|P| (microC/cm^2)"] / (0.05 * POLARIZATION)
    np.testing.assert_allclose(found, expected, atol=0.03)
    np.testing.assert_allclose(table["c/a"], 1.0 + 0.06 * expected, atol=2e-3)
    assert np.all(np.diff(table["temperature (K)"]) > 0.0)


def test_stretches_that_stay_correlated_are_told(tmp_path, rng):
    noise = rng.normal(size=(2000, 3))
    for name, dipole, is_short in (("noise", noise, False), ("walk", noise.cumsum(0), True)):
        cells = 10.0 * np.eye(3) + 1e-3 * rng.normal(size=(2000, 3, 3))
        records = {
            "thermo": {"temperature": np.full(2000, 300.0), "cell": cells},
            "polarization": {"polarization": dipole, "cell": cells},
        }
        run = open_run(write_run(tmp_path / name, records))
        lines = order_parameter([run], 2).lines
        assert any("warning: the run is short" in line for line in lines) == is_short


def test_too_many_stretches_are_refused(tmp_path, capsys):
    values = {"polarization": {"polarization": np.zeros((100, 3))}}
    path = write_run(tmp_path / "run", values)
    assert main(["analyse", "order", str(path), "--stretches", "50"]) == 2
    assert "--stretches 25" in capsys.readouterr().err
