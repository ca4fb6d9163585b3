"""`import jles` is fast and gives all public names."""

import subprocess
import sys

import pytest

import jles
from tests.support.paths import ROOT


def test_importing_the_package_imports_nothing_heavy_even_when_names_are_listed():
    heavy = {"jax", "jaxlib", "numpy", "ase", "flax", "yaml", "jaxtyping"}
    program = f"import jles, sys; dir(jles); print(sorted({heavy!r} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(jles._LAZY))
def test_names_are_offered_and_are_those_of_their_modules(name):
    assert name in dir(jles)
    module = sys.modules[getattr(jles, name).__module__]
    assert getattr(module, name) is getattr(jles, name)


def test_the_functions_for_jax_md_are_offered():
    assert "jax_md" in dir(jles)
    assert jles.jax_md is sys.modules["jles.jax_md"]


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="'jles' has no attribute 'lattice_sums'"):
        jles.lattice_sums  # noqa: B018
