"""Laws and error messages of the high-level entry point `lattice_sum`."""

import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jles.electrostatics import (
    KGrid,
    Multipoles,
    Response,
    background_energy,
    cluster_energy,
    ewald_energy,
    lattice_sum,
    plan_kgrid,
    self_energy,
)
from jles.errors import InputError
from tests.support.coulomb_oracles import central_difference, random_crystal
from tests.support.marks import long

seeds = st.integers(min_value=0, max_value=10**6)
PERIODIC = pytest.mark.parametrize("pbc", [True, False])


def crystal(seed=0, **options):
    # The same cell unless asked otherwise: its plan, and so the compilation, is shared.
    charges, positions, cell = random_crystal(seed, **options)
    return Multipoles(charges), positions, cell


def test_crystals_and_clusters_are_the_pure_functions():
    multipoles, positions, cell = crystal()
    charges = jnp.asarray(multipoles.charges)
    grid = plan_kgrid(cell, 2.5)
    periodic = lattice_sum(
        multipoles, positions, cell, sigma=0.8, k_max=2.5, cutoff="smooth", remove_self=False
    )
    expected = ewald_energy(
        charges,
        jnp.asarray(positions),
        jnp.asarray(cell),
        sigma=0.8,
        k_max=2.5,
        grid=grid,
        cutoff="smooth",
        remove_self=False,
    )
    np.testing.assert_allclose(periodic.energy, expected, rtol=1e-12)
    for cluster in (
        lattice_sum(multipoles, positions, cell, pbc=(False, False, False), sigma=0.8),
        lattice_sum(multipoles, positions, None, pbc=False, sigma=0.8),
    ):
        expected = cluster_energy(charges, jnp.asarray(positions), sigma=0.8)
        np.testing.assert_allclose(cluster.energy, expected, rtol=1e-12)


@PERIODIC
@given(seed=seeds)
def test_energy_potential_and_field_belong_together(pbc, seed):
    multipoles, positions, cell = crystal(seed, neutral=False)
    # One plan for every random cell is one compilation.
    grid = KGrid(5, 5, 5)
    out = lattice_sum(multipoles, positions, cell, pbc=pbc, plan=grid)
    np.testing.assert_allclose(
        0.5 * jnp.sum(multipoles.charges * out.potential), out.energy, rtol=1e-10, atol=1e-10
    )
    gradient = jax.grad(lambda r: lattice_sum(multipoles, r, cell, pbc=pbc, plan=grid).energy)(
        positions
    )
    forces = multipoles.charges[:, None] * out.field
    np.testing.assert_allclose(-gradient, forces, rtol=1e-9, atol=1e-11)
    np.testing.assert_array_equal(out.effective.charges, multipoles.charges)
    assert out.effective.dipoles is None
    assert out.effective.quadrupoles is None


@PERIODIC
def test_a_neutral_atom_feels_the_field_of_a_small_probe(pbc):
    multipoles, positions, cell = crystal()
    charges = np.array(multipoles.charges)
    charges[2] = 0.0
    out = lattice_sum(Multipoles(charges), positions, cell, pbc=pbc)

    def probe_force(p):
        probed = Multipoles(jnp.asarray(charges).at[2].set(p))
        energy = jax.grad(lambda r: lattice_sum(probed, r, cell, pbc=pbc).energy)(positions)
        return -energy[2]

    found = central_difference(probe_force, 0.0, 1.0, step=1e-3)
    np.testing.assert_allclose(found, out.field[2], rtol=1e-8)


@PERIODIC
def test_the_self_part_of_energy_and_potential_is_an_option(pbc):
    multipoles, positions, cell = crystal()
    sigma = 0.9
    removed, kept = (
        lattice_sum(multipoles, positions, cell, pbc=pbc, sigma=sigma, remove_self=flag)
        for flag in (True, False)
    )
    charges = jnp.asarray(multipoles.charges)
    np.testing.assert_allclose(kept.energy - removed.energy, self_energy(charges, sigma))
    np.testing.assert_allclose(
        kept.potential - removed.potential,
        jax.grad(lambda q: self_energy(q, sigma))(charges),
        rtol=1e-10,
    )
    np.testing.assert_allclose(kept.field, removed.field, rtol=1e-10, atol=1e-12)


def test_the_background_of_point_charges_is_an_option():
    multipoles, positions, cell = crystal(neutral=False)
    smeared = lattice_sum(multipoles, positions, cell, sigma=0.9)
    point = lattice_sum(multipoles, positions, cell, sigma=0.9, background="point")
    volume = abs(np.linalg.det(cell))
    np.testing.assert_allclose(
        smeared.energy - point.energy,
        background_energy(multipoles.charges.sum(), volume, 0.9),
        rtol=1e-9,
    )


@PERIODIC
def test_channels_are_independent(pbc):
    multipoles, positions, cell = crystal()
    columns = np.stack([multipoles.charges, multipoles.charges[::-1] ** 2], axis=1)
    together = lattice_sum(Multipoles(columns), positions, cell, pbc=pbc)
    apart = [lattice_sum(Multipoles(column), positions, cell, pbc=pbc) for column in columns.T]
    np.testing.assert_allclose(together.energy, sum(out.energy for out in apart), rtol=1e-10)
    for name in ("potential", "field"):
        expected = np.stack([getattr(out, name) for out in apart], axis=1)
        np.testing.assert_allclose(getattr(together, name), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("pbc", [long(True), False])
def test_derivatives_in_positions_cell_and_charges_are_those_of_finite_differences(pbc):
    multipoles, positions, cell = crystal()
    arguments = tuple(jnp.asarray(x) for x in (multipoles.charges, positions, cell))
    rng = np.random.default_rng(6)
    moves = tuple(jnp.asarray(rng.normal(size=x.shape)) for x in arguments)

    def observable(q, r, c):
        out = lattice_sum(Multipoles(q), r, c, pbc=pbc, cutoff="smooth", k_max=2.0)
        return out.energy + jnp.sum(out.potential**2) + jnp.sum(out.field**2)

    def on_line(t):
        return observable(*(x + t * m for x, m in zip(arguments, moves, strict=True)))

    gradient = jax.grad(observable, (0, 1, 2))(*arguments)
    slope = sum(jnp.vdot(g, m) for g, m in zip(gradient, moves, strict=True))
    np.testing.assert_allclose(slope, central_difference(on_line, 0.0, 1.0, 2e-5), rtol=1e-7)
    np.testing.assert_allclose(jax.jvp(observable, arguments, moves)[1], slope, rtol=1e-10)


def test_second_derivatives_are_those_of_finite_differences():
    multipoles, positions, cell = crystal(atoms=4)

    def energy(r):
        return lattice_sum(multipoles, r, cell).energy

    hessian = jax.jit(jax.hessian(energy))(positions).reshape(12, 12)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-11)
    column = central_difference(
        jax.jit(jax.grad(energy)), positions, np.eye(12)[5].reshape(4, 3)
    )
    np.testing.assert_allclose(hessian[5], column.ravel(), rtol=1e-7, atol=1e-9)


def test_jit_works_with_a_plan_and_says_so_without():
    multipoles, positions, cell = crystal()
    grid = plan_kgrid(cell, 3.0)
    eager = lattice_sum(multipoles, positions, cell, k_max=3.0)
    planned = jax.jit(lambda r, c: lattice_sum(multipoles, r, c, k_max=3.0, plan=grid))
    np.testing.assert_allclose(planned(positions, cell).energy, eager.energy, rtol=1e-10)
    known_cell = jax.jit(lambda r: lattice_sum(multipoles, r, cell, k_max=3.0).energy)
    np.testing.assert_allclose(known_cell(positions), eager.energy, rtol=1e-10)
    with pytest.raises(InputError, match="plan_sum"):
        jax.jit(lambda c: lattice_sum(multipoles, positions, c).energy)(cell)


@PERIODIC
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_is_kept(pbc, dtype):
    multipoles, positions, cell = crystal()
    out = lattice_sum(
        Multipoles(multipoles.charges.astype(dtype)), positions.astype(dtype), cell, pbc=pbc
    )
    assert {x.dtype for x in out[:3]} == {np.dtype(dtype)}


def test_lists_and_integers_are_numbers():
    cell = [[4, 0, 0], [0, 4, 0], [0, 0, 4]]
    out = lattice_sum(Multipoles([1, -1]), [[0, 0, 0], [1, 1, 1]], cell)
    assert out.energy.dtype == np.float64
    assert np.isfinite(out.energy)


def test_float32_is_safe_a_hundred_thousand_cells_away():
    multipoles, positions, cell = crystal(edge=9.0)
    positions, cell = np.round(positions * 16) / 16, np.round(cell * 16) / 16
    images = np.random.default_rng(1).integers(-(10**5), 10**5, size=(8, 3))
    images[:, 1:] = 0
    charges = Multipoles(multipoles.charges.astype(np.float32))
    away = positions + images @ cell
    np.testing.assert_array_equal(away.astype(np.float32), away)
    near = lattice_sum(charges, positions.astype(np.float32), cell)
    far = lattice_sum(charges, away.astype(np.float32), cell)
    np.testing.assert_allclose(far.energy, near.energy, rtol=2e-6)
    np.testing.assert_allclose(far.field, near.field, atol=1e-5 * np.abs(near.field).max())


PLACES, CUBE = np.random.default_rng(0).uniform(0.0, 9.0, (12, 3)), np.eye(3) * 9.0
IONS = Multipoles(np.tile([0.4, -0.4], 6))


@pytest.mark.parametrize("pbc", [(True, True, False), False])
def test_in_float32_a_slab_or_cluster_may_lie_far_from_the_origin(pbc):
    charges = Multipoles(np.float32(IONS.charges))
    cell = np.float32(CUBE)
    near, far = (
        lattice_sum(charges, PLACES + [0.0, 0.0, z], cell, pbc=pbc).energy for z in (0.0, 1e6)
    )
    np.testing.assert_allclose(near, far, rtol=1e-6)


def test_pbc_of_zeros_and_ones_is_that_of_ase():
    one, other = (
        lattice_sum(IONS, PLACES, CUBE, pbc=pbc).energy
        for pbc in ((1, 1, 0), (True, True, False))
    )
    assert one == other


CHARGES, POSITIONS, CELL = np.array([1.0, -1.0]), np.zeros((2, 3)), np.eye(3) * 5.0
NOT_A_NUMBER = np.array([1.0, math.nan])
FLAT = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
MISTAKES = {
    "dipoles": (
        {"multipoles": Multipoles(CHARGES, dipoles=np.zeros((3, 3)))},
        r"dipoles have shape \(3, 3\); here they must be \(2, 3\)",
    ),
    "quadrupoles": (
        {"multipoles": Multipoles(CHARGES, quadrupoles=np.zeros((2, 9)))},
        r"quadrupoles .*\(2, 9\).*\(2, 3, 3\)",
    ),
    "mixed dtypes": (
        {"multipoles": Multipoles(jnp.float32(CHARGES), dipoles=jnp.zeros((2, 3)))},
        "mixed dtypes: charges float32, dipoles float64",
    ),
    "negative softness": (
        {"response": Response(charge_softness=CHARGES)},
        "charge_softness of atom 1 is -1 .*must not be negative",
    ),
    "negative polarizability": (
        {
            "response": Response(
                polarizabilities=np.array([np.eye(3), np.diag([1.0, 1.0, -2.0])])
            )
        },
        "polarizabilities of atom 1 is -2 .*nor may an eigenvalue",
    ),
    "shape of polarizabilities": (
        {"response": Response(polarizabilities=np.ones((2, 3)))},
        r"polarizabilities have shape \(2, 3\).*\(2,\) or \(2, 3, 3\)",
    ),
    "response mode": (
        {"response": Response(polarizabilities=np.ones(2), mode="often")},
        "'often'.*'one-shot' or 'self-consistent'",
    ),
    "softness, solved, in a field": (
        {
            "response": Response(charge_softness=np.ones(2), mode="self-consistent"),
            "field": np.ones(3),
        },
        "no response to a field in a periodic cell",
    ),
    "field": ({"field": (0.0, 1.0)}, r"field have shape \(2,\); here they must be \(3,\)"),
    "method": ({"method": "fast"}, "'fast'.*'direct'.*'mesh'.*'auto'"),
    "list of methods": ({"method": ["pme"]}, "method is a list; it must be 'direct'"),
    "tuple as plan": ({"plan": (3, 3, 3)}, "plan is a tuple; pass the SumPlan"),
    "mesh with a direct plan": (
        {"method": "pme", "plan": KGrid(3, 3, 3)},
        "method is 'pme' but plan is one of the direct sum",
    ),
    "thin cell": ({"cell": np.diag([5.0, 0.7, 5.0])}, "0.7 angstrom thin along vector 1"),
    "memory": ({"k_max": 3000.0}, "k_max 3000.0 needs .* GiB for the direct sum"),
    "accuracy": ({"method": "pme", "accuracy": 0.5}, "accuracy must lie between .* got 0.5"),
    "accuracy of the direct sum": ({"accuracy": 0.5}, "accuracy must lie between .* got 0.5"),
    "accuracy of a cluster": ({"pbc": False, "accuracy": -1.0}, "between .* got -1.0"),
    "accuracy in words": ({"accuracy": "high"}, "accuracy must lie between .* got 'high'"),
    "flat slab": (
        {"pbc": (True, True, False), "cell": np.array([[1.0, 0, 0], [2.0, 0, 0], [0, 0, 9.0]])},
        "span no area",
    ),
    "sigma": ({"sigma": -1.0}, "sigma must be .*positive.*-1.0"),
    "k_max": ({"k_max": 0.0}, "k_max must be .*positive.*0.0"),
    "k_max that is not a number": ({"k_max": math.nan}, "k_max must be .*positive.*nan"),
    "cutoff": ({"cutoff": "round"}, "'round'.*'sharp' or 'smooth'"),
    "background": ({"background": "none"}, "'none'.*'smeared' or 'point'"),
    "wire": ({"pbc": np.array([True, False, False])}, "one direction only.*slab"),
    "pbc": ({"pbc": "xy"}, "pbc must be True, False or three booleans, got xy"),
    "number of charges": ({"multipoles": Multipoles(np.ones(3))}, r"\(3,\).*\(2,\)"),
    "shape of positions": ({"positions": np.zeros((2, 2))}, r"\(2, 2\).*\(atoms, 3\)"),
    "no atoms": ({"positions": np.zeros((0, 3))}, r"\(0, 3\)"),
    "complex charges": ({"multipoles": Multipoles(CHARGES + 0j)}, "complex128.*real"),
    "half precision": ({"multipoles": Multipoles(CHARGES.astype(np.float16))}, "float16"),
    "charge that is not a number": (
        {"multipoles": Multipoles(NOT_A_NUMBER)},
        r"charges\[1\] is nan",
    ),
    "position that is not a number": (
        {"positions": np.array([[0.0, 0.0, math.inf], [0.0, 0.0, 0.0]])},
        r"positions\[0, 2\] is inf",
    ),
    "no cell": ({"cell": None}, "cell is None but pbc is True"),
    "shape of the cell": ({"cell": np.ones(3)}, r"\(3,\).*\(3, 3\)"),
    "cell that is not a number": ({"cell": CELL * math.nan}, r"cell\[0, 0\] is nan"),
    "zero volume": ({"cell": FLAT}, "no volume"),
    "small plan": ({"plan": KGrid(1, 1, 1)}, "n_a=1.*misses wavevectors.*plan_sum"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named_with_value_and_remedy(mistake):
    change, message = MISTAKES[mistake]
    arguments = {"multipoles": Multipoles(CHARGES), "positions": POSITIONS, "cell": CELL}
    with pytest.raises(InputError, match=message) as error:
        # Without the type checks, which the tests alone switch on.
        inspect.unwrap(lattice_sum)(**(arguments | change))
    assert "\n" not in str(error.value)


def test_an_empty_response_is_no_response():
    multipoles, positions, cell = crystal()
    plain = lattice_sum(multipoles, positions, cell)
    empty = lattice_sum(multipoles, positions, cell, response=Response())
    assert plain.energy == empty.energy


@pytest.mark.parametrize("pbc", [True, long((True, True, False))])
def test_a_skewed_cell_is_reduced_and_derivatives_are_in_the_given_vectors(pbc):
    multipoles, positions, cell = crystal()
    skew = np.array([[1, 0, 0], [6, 1, 0], [0, 6 if pbc is True else 0, 1]])

    def energy(cell):
        out = lattice_sum(
            multipoles, positions, cell, pbc=pbc, sigma=1.6, k_max=4.0, cutoff="smooth"
        )
        return out.energy

    expected, slope = jax.value_and_grad(energy)(jnp.asarray(cell))
    found, skewed_slope = jax.value_and_grad(energy)(jnp.asarray(skew @ cell))
    # The height in which a slab is summed depends on the vectors, and leaves an error of 1e-8.
    options = {"rtol": 1e-8, "atol": 1e-9} if pbc is True else {"rtol": 1e-6, "atol": 1e-6}
    np.testing.assert_allclose(found, expected, **options)
    np.testing.assert_allclose(skew.T @ skewed_slope, slope, **options)


def test_a_slab_whose_charge_lowers_its_energy_needs_conserve_charge():
    """A uniform charge lowers the energy of a slab, so soft charges need a fixed total."""
    charges = np.array([0.5, -0.2, -0.3])
    positions = np.array([[0.0, 0.0, 0.0], [1.5, 1.5, 4.0], [0.3, 1.0, 6.0]])

    def solve(conserve_charge):
        response = Response(
            charge_softness=np.full(3, 0.05),
            mode="self-consistent",
            conserve_charge=conserve_charge,
        )
        return lattice_sum(
            Multipoles(charges),
            positions,
            np.diag([3.0, 3.0, 0.0]),
            pbc=(True, True, False),
            response=response,
        )

    with pytest.raises(InputError, match="did not converge.*slab.*conserve_charge"):
        solve(False)
    assert np.isclose(np.sum(solve(True).effective.charges), 0.0, atol=1e-6)
