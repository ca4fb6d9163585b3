"""All reference numbers of charges, dipoles, quadrupoles and their one-shot response."""

import functools
import json
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jles.electrostatics import (
    MeshPlan,
    Multipoles,
    Response,
    SumPlan,
    lattice_sum,
    merge_kgrids,
    plan_kgrid,
    plan_sum,
)
from tests.support.marks import long
from tests.support.paths import golden_path

MOMENTS = ("charges", "dipoles", "quadrupoles")
RESPONSES = ("charge_softness", "polarizabilities")
# Most of the time goes into compiling; small systems need no optimised code. The emitters,
# which other tests leave out, are those of a user.
QUICK_COMPILE = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": True}


@functools.cache
def golden_cases():
    return json.loads(golden_path("electrostatics.json").read_text())["cases"]


def periodic_cases():
    return [case for case in golden_cases() if case["cell"] is not None]


def cutoff_of(case):
    return 2.0 * math.pi / case["dl"]


def arrays_of(case, full=False):
    """Moments and response from the file; `full` replaces missing ones by zeros."""
    arrays = {name: np.array(case[name]) for name in (*MOMENTS, *RESPONSES) if name in case}
    if full:
        atoms = len(arrays["charges"])
        empty = {"dipoles": (3,), "quadrupoles": (3, 3), "charge_softness": ()}
        for name, axes in empty.items():
            arrays.setdefault(name, np.zeros((atoms, *axes)))
        alpha = arrays.get("polarizabilities", np.zeros(atoms))
        arrays["polarizabilities"] = (
            alpha if alpha.ndim == 3 else alpha[:, None, None] * np.eye(3)
        )
    moments = Multipoles(*(arrays.get(name) for name in MOMENTS))
    responses = [arrays.get(name) for name in RESPONSES]
    response = Response(*responses) if any(array is not None for array in responses) else None
    return jax.tree.map(jnp.asarray, (moments, response))


@partial(jax.jit, static_argnames=("plan", "remove_self"), compiler_options=QUICK_COMPILE)
def evaluate(moments, response, positions, cell, **options):
    """Energy, forces, effective moments and, where there is a cell, stress."""

    def strained(strain, r):
        # Fixed dipoles are not strained: only the symmetric part is a stress.
        deform = jnp.eye(3) + 0.5 * (strain + strain.T)
        bent = None if cell is None else cell @ deform
        pbc = cell is not None
        out = lattice_sum(moments, r @ deform, bent, pbc=pbc, response=response, **options)
        return out.energy, out.effective

    slopes = jax.value_and_grad(strained, (0, 1), has_aux=True)
    (energy, effective), (virial, slope) = slopes(jnp.zeros((3, 3)), positions)
    found = {
        "energy": energy,
        "forces": -slope,
        "effective_charges": effective.charges,
        "effective_dipoles": effective.dipoles,
    }
    if cell is not None:
        found["stress"] = virial / jnp.abs(jnp.linalg.det(cell))
    return found


def assert_golden(case, plan, full, rtol):
    moments, response = arrays_of(case, full)
    found = evaluate(
        moments,
        response,
        jnp.array(case["positions"]),
        None if case["cell"] is None else jnp.array(case["cell"], float),
        sigma=case["sigma"],
        k_max=cutoff_of(case),
        remove_self=case["self_removed"],
        plan=plan,
    )
    for quantity, value in case["expected"].items():
        expected = np.array(value)
        np.testing.assert_allclose(
            found[quantity],
            expected,
            rtol=rtol,
            atol=rtol * np.abs(expected).max(),
            err_msg=f"{quantity} of {case['name']}",
        )


def test_the_file_has_all_its_cases_and_quantities():
    cases = golden_cases()
    assert len(cases) == 54
    assert len(periodic_cases()) == 36
    assert len({case["name"] for case in cases}) == 54
    for case in cases:
        names = {"energy", "forces"} | ({"stress"} if case["cell"] is not None else set())
        assert names <= set(case["expected"])
        # Softness moves charges, polarizability dipoles: the file says to where.
        assert ("effective_charges" in case["expected"]) == ("charge_softness" in case)
        assert ("effective_dipoles" in case["expected"]) == ("polarizabilities" in case)


# Crystals are evaluated with absent moments and responses as zeros: few compilations. What is
# absent is left out of all clusters, and in a long test of crystals of charges and of q+u+Q.


@pytest.mark.long
def test_every_cluster_is_reproduced():
    for case in golden_cases():
        if case["cell"] is None:
            assert_golden(case, None, not case["self_removed"], 1e-8)


@pytest.mark.parametrize("as_given", [False, long(True)])
def test_every_crystal_is_reproduced_by_the_direct_sum(as_given):
    cases = periodic_cases()
    grid = merge_kgrids(plan_kgrid(case["cell"], cutoff_of(case)) for case in cases)
    if as_given:
        moments = ("q", "q+u+Q")
        cases = [c for c in cases if c["self_removed"] and c["name"].split()[1] in moments]
    assert cases
    for case in cases:
        assert_golden(case, SumPlan(grid=grid), not as_given, 1e-8)


def mesh_plan(cases):
    """The smallest mesh that serves all of `cases` to an accuracy of 1e-8."""
    plans = [
        plan_sum(
            case["cell"],
            case["positions"],
            True,
            k_max=cutoff_of(case),
            sigma=case["sigma"],
            method="pme",
            accuracy=1e-8,
            rank=2,
        ).mesh
        for case in cases
    ]
    return SumPlan(mesh=MeshPlan(*(max(sizes) for sizes in zip(*plans, strict=True))))


@pytest.mark.parametrize("lengths", [(2.0,), (1.2, 1.0)])
@pytest.mark.long
def test_every_crystal_is_reproduced_by_the_particle_mesh(lengths):
    cases = [case for case in periodic_cases() if case["dl"] in lengths]
    assert cases
    plan = mesh_plan(cases)
    for case in cases:
        # The mesh's accuracy is a mean over forces; here each one's worst component counts.
        assert_golden(case, plan, True, 1e-7)


@pytest.mark.parametrize("kind", ["cluster", "triclinic"])
def test_parts_of_the_energy_add_up_to_it(kind):
    name = f"{kind} q+u+Q+kappa+alpha sigma=1.0 dl=2.0 self_removed=True"
    (case,) = (case for case in golden_cases() if case["name"] == name)
    moments, response = arrays_of(case)
    cell = None if case["cell"] is None else np.array(case["cell"])
    options = {"sigma": case["sigma"], "k_max": cutoff_of(case), "response": response}
    out = lattice_sum(
        moments, case["positions"], cell, pbc=cell is not None, parts=True, **options
    )
    assert len(out.parts) == 7
    np.testing.assert_allclose(sum(out.parts.values()), case["expected"]["energy"], rtol=1e-8)
    # The part of the charges is what they have alone: another case of the file.
    (alone,) = (
        c for c in golden_cases() if c["name"] == name.replace("q+u+Q+kappa+alpha", "q")
    )
    np.testing.assert_array_equal(alone["charges"], case["charges"])
    expected = alone["expected"]["energy"]
    np.testing.assert_allclose(out.parts["charge-charge"], expected, rtol=1e-8)
