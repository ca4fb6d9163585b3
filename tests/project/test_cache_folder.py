"""Where the program keeps compiled code, and how that is turned off."""

import os

import pytest

from jles.cache_folder import VARIABLE, cache_folder, times_file, trim, use_compilation_cache
from jles.cli.main import build_parser, main

JAX = "JAX_COMPILATION_CACHE_DIR"


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """No settings of the user; changes of the environment are undone."""
    monkeypatch.setattr(os, "environ", {"XDG_CACHE_HOME": str(tmp_path), "PATH": ""})


def test_the_cache_is_in_the_users_folder_or_where_the_variable_says(tmp_path):
    assert cache_folder().parent == tmp_path / "jles" / "compiled"
    os.environ[VARIABLE] = str(tmp_path / "here")
    assert cache_folder().parent == tmp_path / "here"
    for word in ("off", "OFF", "0"):
        os.environ[VARIABLE] = word
        assert cache_folder() is None


def test_jax_is_told_unless_the_user_has_said_otherwise(tmp_path):
    os.environ[VARIABLE] = "off"
    use_compilation_cache()
    assert JAX not in os.environ
    os.environ |= {VARIABLE: "", JAX: "mine"}
    use_compilation_cache()
    assert os.environ[JAX] == "mine"
    del os.environ[JAX]
    use_compilation_cache()
    assert os.environ[JAX] == str(cache_folder())
    assert times_file().parent == cache_folder()


def test_a_place_that_cannot_be_written_is_no_reason_to_fail(tmp_path):
    (tmp_path / "file").touch()
    os.environ[VARIABLE] = str(tmp_path / "file")
    use_compilation_cache()
    assert JAX not in os.environ


def test_only_the_program_uses_the_cache():
    """`main` called with arguments, as tests and notebooks do, leaves JAX alone."""
    assert main(["info", "nowhere"]) == 2
    assert JAX not in os.environ
    arguments = build_parser().parse_args(["--no-compilation-cache", "info", "model"])
    assert arguments.no_compilation_cache


def test_the_oldest_entries_go_first(tmp_path):
    for age, name in enumerate("abcd"):
        (tmp_path / name).write_bytes(b"x" * 100)
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    trim(tmp_path, 400)
    assert len(list(tmp_path.iterdir())) == 4
    trim(tmp_path, 399)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
