"""Errors name the wrong key of a config and the remedy."""

import pytest
import yaml

from jles.config import from_dict
from jles.dynamics.config import Langevin, MdConfig, Npt, Pulse
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
        ({"steps": 0}, "config.steps: expected int >= 1, got 0"),
        ({"timestep": None}, "config.timestep: is missing (fs)"),
        ({"timestep": -0.5}, "config.timestep: expected float > 0.0 (fs), got -0.5"),
        (
            {"ensemble": {"kind": "NVT"}},
            "config.ensemble.kind: got 'NVT'; did you mean 'langevin' or 'nose-hoover'?",
        ),
        (
            {"record": {"dipole": 2}},
            "config.record: unknown key 'dipole'; did you mean 'polarization'?",
        ),
        (
            {"ensemble": {"kind": "langevin"}},
            "config.ensemble: missing key 'temperature' (K)",
        ),
        (
            {"ensemble": {"kind": "nve", "friction": 1.0}},
            (
                "config.ensemble: unknown key 'friction'; it belongs to kind 'langevin'; "
                "known keys of kind 'nve': none"
            ),
        ),
        (
            {"ensemble": "nve"},
            "config.ensemble: expected keys and values, got 'nve'; write {kind: nve}",
        ),
        (
            {"ensemble": {"knd": "nve"}},
            "config.ensemble: unknown key 'knd'; did you mean 'kind'?",
        ),
        (
            {"ensemble": {"kind": "npt", "temperature": 300.0, "pressure_unit": "GPa"}},
            "config.ensemble: missing key 'pressure' (eV/angstrom^3 or GPa)",
        ),
        (
            {"ensemble": {"kind": "npt", "temperature": 300.0, "pressure": 1.0}},
            "config.ensemble: missing key 'pressure_unit' (one of 'eV/angstrom^3', 'GPa')",
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
            "config.field: missing key 'end' (fs)",
        ),
        (
            {
                "field": {
                    "kind": "step",
                    "amplitude": [0, 0, 1],
                    "unit": "kV/cm",
                    "start": 0,
                    "width": 3.0,
                }
            },
            "config.field: unknown key 'width'; it belongs to kind 'pulse'; known keys of",
        ),
        (
            {"field": {"kind": "constant", "amplitude": [0, 0, 100], "unit": "V/angstrom"}},
            "config.field.amplitude: 100 V/angstrom is stronger than 10; is the unit kV/cm?",
        ),
        ({"displacement": FIELD}, "config.displacement: cannot be fixed together"),
        (
            {"neighbors": {"skin": 0.0}},
            "config.neighbors.skin: expected float > 0.0 (angstrom), got 0.0",
        ),
        (
            {"record": {"positions": -1}},
            "config.record.positions: expected int >= 0, got -1",
        ),
        ({"field": FIELD | {"branch": [0, 0, 1]}}, "config.field.branch: only a displacement"),
        (
            {"block": 1_000_000_000_000},
            "config.block: expected int <= 1000000, got 1000000000000",
        ),
        ({"steps": 2**31}, "config.steps: expected int <= 2147483647, got 2147483648"),
        ({"timestep": 1e9}, "config.timestep: expected float <= 1000.0"),
        ({"record": {"dipole": 1}}, "config.record: unknown key 'dipole'"),
    ],
)
def test_a_wrong_key_is_named(changes, words):
    with pytest.raises(InputError) as caught:
        from_dict(MdConfig, CONFIG | changes, "config")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


OLD_LANGEVIN = """
steps: 40
timestep: 0.5
seed: 0
dtype: float32
ensemble: {kind: langevin, temperature: 300.0, temperature_end: null, friction: null,
  thermostat_time: null, pressure: null, pressure_unit: null, barostat_time: null, cell: null,
  force_tolerance: null}
velocities: {source: auto, temperature: null}
field: {kind: pulse, amplitude: [0.0, 0.0, 0.1], unit: V/angstrom, start: null, end: null,
  period: null, phase: null, center: 50.0, width: 10.0, sum_rule: true, work: true}
displacement: null
neighbors: {skin: 0.5}
block: 100
record: {thermo: 10, polarization: 0, current: 0, positions: 20, velocities: 0,
  polarizability: 0, born_charges: 0, energy_parts: 0, extxyz: 0}
checkpoint: 10000
"""
OLD_NPT = """
steps: 40
timestep: 0.5
ensemble: {kind: npt, temperature: 300.0, temperature_end: 400.0, friction: null,
  thermostat_time: null, pressure: 1.0, pressure_unit: GPa, barostat_time: 500.0, cell: null,
  force_tolerance: null}
field: null
"""


def test_the_configuration_of_an_old_run_is_read():
    """Every ensemble and every field had the keys of all kinds, null where unused."""
    config = from_dict(MdConfig, yaml.safe_load(OLD_LANGEVIN), "config.yaml")
    assert config == MdConfig(
        steps=40,
        timestep=0.5,
        ensemble=Langevin(temperature=300.0, friction=1.0),
        field=Pulse(amplitude=(0.0, 0.0, 0.1), unit="V/angstrom", center=50.0, width=10.0),
    )
    config = from_dict(MdConfig, yaml.safe_load(OLD_NPT), "config.yaml")
    assert config.ensemble == Npt(
        temperature=300.0,
        temperature_end=400.0,
        pressure=1.0,
        pressure_unit="GPa",
        barostat_time=500.0,
    )
    assert config.ensemble.cell == "full"
