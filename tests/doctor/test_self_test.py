"""The self-test passes here and fails where numbers are wrong; the report says so."""

import math

import jax
import pytest

from jles.cli.main import main
from jles.doctor import machine, self_test
from jles.doctor.self_test import Outcome


def test_every_check_passes():
    outcomes = list(self_test.self_test())
    assert len(outcomes) == len(self_test.CHECKS)
    assert [outcome for outcome in outcomes if not outcome.passed] == []


def test_nan_and_exceptions_are_failures():
    assert not Outcome("x", math.nan, 1.0, 0.0).passed
    assert not Outcome("x", 2.0, 1.0, 0.0).passed
    assert Outcome("x", 0.0, 1.0, 0.0).passed


def test_a_function_that_computes_wrongly_is_found(monkeypatch):
    exact = jax.scipy.special.erfc
    monkeypatch.setattr(jax.scipy.special, "erfc", lambda x: exact(x) * (1.0 + 1e-4))
    assert self_test.special_functions() > 2e-6


@pytest.mark.parametrize("error", [1.0, math.nan])
def test_the_status_says_whether_all_is_well(monkeypatch, capsys, error):
    def check():
        if math.isnan(error):
            raise RuntimeError("no such\n device")
        return error

    monkeypatch.setattr(self_test, "CHECKS", (("a sum", 1e-6, check),))
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "problem: self-test, a sum: " in out
    assert "everything is in order" not in out
    monkeypatch.setattr(self_test, "CHECKS", (("a sum", 1e-6, lambda: 0.0),))
    assert main(["doctor"]) == 0
    assert "everything is in order" in capsys.readouterr().out


def test_a_release_that_is_excluded_is_a_problem(monkeypatch, capsys):
    monkeypatch.setattr(machine, "version", lambda name: "0.10.2" if name == "jax" else "1.0")
    assert main(["doctor", "--no-self-test"]) == 1
    assert "problem: jax 0.10.2 is reported to miscompile" in capsys.readouterr().out


def test_a_cache_that_cannot_be_written_is_a_problem(monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(machine.os, "access", lambda *_: False)
    cache, data = machine.folders(tmp_path / "absent")
    assert "cannot be written" in cache.problem
    assert data.problem == ""


def test_a_cache_path_that_is_a_file_is_a_problem(monkeypatch, tmp_path):
    file = tmp_path / "file"
    file.touch()
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("JLES_COMPILATION_CACHE", str(file))
    cache, _ = machine.folders(tmp_path)
    assert cache.problem.startswith(f"{file} is not a folder; set JLES_COMPILATION_CACHE")
    monkeypatch.setenv("JLES_COMPILATION_CACHE", str(tmp_path / "new"))
    cache, _ = machine.folders(tmp_path)
    assert cache.problem == ""
    assert "not there yet" in cache.value
