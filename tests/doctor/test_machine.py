"""What `jles doctor` says about a machine."""

import jax

from jles.doctor.machine import devices


def test_a_platform_without_a_plugin_is_a_problem_with_a_remedy(monkeypatch):
    def none():
        raise AssertionError

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(jax, "devices", none)
    (found,) = devices()
    assert found.problem.startswith("JAX finds no device (JAX_PLATFORMS=cuda); set ")
