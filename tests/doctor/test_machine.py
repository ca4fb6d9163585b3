"""What `jles doctor` says about a machine."""

import jax

from jles.doctor import machine
from jles.doctor.machine import devices, packages


def test_versions_are_compared_with_those_that_jles_needs(monkeypatch):
    needs = ["ase>=3.26", "flax>=0.12,!=0.13", "rich>=13; extra == 'pretty'", "numpy>=2"]
    found = {"ase": "3.9.1", "flax": "0.12.1", "numpy": "3.0.dev1"}
    monkeypatch.setattr(machine, "requires", lambda name: needs)
    monkeypatch.setattr(machine, "version", found.get)
    problems = {each.name: each.problem for each in packages() if each.name in found}
    assert problems.pop("ase").startswith("ase 3.9.1 is installed, but jles needs ase>=3.26;")
    assert problems == {"flax": "", "numpy": ""}


def test_a_platform_without_a_plugin_is_a_problem_with_a_remedy(monkeypatch):
    def none():
        raise AssertionError

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(jax, "devices", none)
    (found,) = devices()
    assert found.problem.startswith("JAX finds no device (JAX_PLATFORMS=cuda); set ")
