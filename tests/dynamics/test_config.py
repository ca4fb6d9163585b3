"""A wrong key of the config is named, with what would be right."""

import pytest

from jles.config import from_dict
from jles.dynamics.config import MdConfig
from jles.errors import InputError

FIELD = {"kind": "sine", "amplitude": [0, 0.1, 0.2], "unit": "V/angstrom", "period": 30}
CONFIG = {
    "steps": 40,
    "timestep": 0.5,
    "ensemble": {"kind": "langevin", "temperature": 300.0},
    "field": FIELD,
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "config.steps: must be at least 1"),
        ({"timestep": None}, "config.timestep: is missing (fs)"),
        ({"timestep": -0.5}, "config.timestep: must be positive (fs), got -0.5"),
        ({"ensemble": {"kind": "nvt"}}, "config.ensemble.kind: got 'nvt'; choose one of 'nve'"),
        (
            {"ensemble": {"kind": "langevin"}},
            "config.ensemble.temperature: kind 'langevin' needs",
        ),
        (
            {"ensemble": {"kind": "nve", "friction": 1.0}},
            "config.ensemble.friction: has no meaning for ensemble kind 'nve'",
        ),
        (
            {"ensemble": {"kind": "npt", "temperature": 300.0, "pressure": 1.0}},
            "config.ensemble.pressure: kind 'npt' needs a pressure and its pressure_unit",
        ),
        (
            {
                "ensemble": {
                    "kind": "npt",
                    "temperature": 300.0,
                    "pressure": 1.0,
                    "pressure_unit": "GPa",
                },
                "field": None,
                "displacement": CONFIG["field"],
            },
            "'npt' at a fixed displacement needs its stress",
        ),
        (
            {"field": {"kind": "constant", "amplitude": [0, 0, 1]}},
            "config.field: missing key 'unit'",
        ),
        (
            {"field": {"kind": "ramp", "amplitude": [0, 0, 1], "unit": "kV/cm"}},
            "config.field.end: kind 'ramp' needs one (fs)",
        ),
        (
            {"field": {"kind": "step", "amplitude": [0, 0, 1], "unit": "kV/cm", "width": 3.0}},
            "config.field.width: has no meaning for field kind 'step'",
        ),
        (
            {"field": {"kind": "constant", "amplitude": [0, 0, 100], "unit": "V/angstrom"}},
            "config.field.amplitude: 100 V/angstrom is stronger than 10; is the unit kV/cm?",
        ),
        ({"displacement": FIELD}, "config.displacement: cannot be fixed together"),
        ({"neighbors": {"skin": 0.0}}, "config.neighbors.skin: must be positive"),
        (
            {"record": {"positions": -1}},
            "config.record.positions: must be a number of steps or 0",
        ),
        ({"record": {"dipole": 1}}, "config.record: unknown key 'dipole'"),
    ],
)
def test_a_wrong_key_is_named(changes, words):
    with pytest.raises(InputError) as caught:
        from_dict(MdConfig, CONFIG | changes, "config")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
