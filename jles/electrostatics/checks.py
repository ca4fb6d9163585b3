"""Checks of the arguments of `lattice_sum`, on the host."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jles.electrostatics.multipoles import Multipoles, rank_of, symmetric
from jles.electrostatics.plan import SumPlan, check_method, misses_waves
from jles.electrostatics.sums.kgrid import KGrid, check_volume
from jles.electrostatics.sums.mesh import check_accuracy
from jles.electrostatics.sums.slab import area_vector, least_slab_height
from jles.errors import InputError


def concrete(array) -> np.ndarray | None:
    """The values in float64, known also under `jax.grad`; None under `jit`."""
    # A NumPy array must not meet an operation of JAX, which would make it a tracer under jit.
    known = lax.stop_gradient(array) if isinstance(array, jax.Array) else array
    try:
        return np.asarray(known, dtype=np.float64)
    except jax.errors.TracerArrayConversionError:
        return None


def check_options(sigma, k_max, cutoff: str, background: str, method, accuracy) -> None:
    """Refuses widths and cutoffs that are not positive, and unknown options."""
    for name, value, unit in (("sigma", sigma, "angstrom"), ("k_max", k_max, "1/angstrom")):
        number = concrete(value)
        if number is not None and not (number.ndim == 0 and 0.0 < number < np.inf):
            raise InputError(f"{name} must be one positive number ({unit}), got {value}")
    if cutoff not in ("sharp", "smooth"):
        raise InputError(f"cutoff is '{cutoff}'; it must be 'sharp' or 'smooth'")
    if background not in ("smeared", "point"):
        raise InputError(f"background is '{background}'; it must be 'smeared' or 'point'")
    check_method(method)
    check_accuracy(accuracy)


def _float_array(name: str, value, shapes: str):
    """`value` as an array, of NumPy unless it is one of JAX; integers become floats."""
    array = value if isinstance(value, jax.Array) else np.asarray(value)
    if jnp.issubdtype(array.dtype, jnp.integer):
        array = array.astype(jnp.result_type(float))
    if array.dtype not in (np.float32, np.float64):
        raise InputError(
            f"{name} have dtype {array.dtype}; they must be real numbers {shapes}, float32 or "
            "float64"
        )
    return array


def _check_finite(name: str, array, unit: str) -> None:
    values = concrete(array)
    if values is not None and not np.isfinite(values).all():
        where = np.argwhere(~np.isfinite(values))[0]
        raise InputError(
            f"{name}{where.tolist()} is {values[tuple(where)]}; "
            f"it must be a finite number ({unit})"
        )


def moments_and_positions(multipoles, positions):
    """Both as arrays, checked for type, shape and finite values; dtypes may still differ."""
    if not isinstance(multipoles, Multipoles):
        raise InputError(
            f"multipoles are a {type(multipoles).__name__}; pass Multipoles(charges, "
            "dipoles=None, quadrupoles=None)"
        )
    charges = _float_array("charges", multipoles.charges, "(atoms,) or (atoms, channels)")
    positions = _float_array("positions", positions, "(atoms, 3)")
    if positions.ndim != 2 or positions.shape[1] != 3 or positions.shape[0] == 0:
        raise InputError(f"positions have shape {positions.shape}; they must be (atoms, 3)")
    atoms = positions.shape[0]
    if charges.ndim not in (1, 2) or charges.shape[0] != atoms or charges.size == 0:
        raise InputError(
            f"charges have shape {charges.shape}; with {atoms} positions they must be "
            f"({atoms},) or ({atoms}, channels)"
        )
    arrays = {"charges": charges, "positions": positions}
    for name, axes in (("dipoles", (3,)), ("quadrupoles", (3, 3))):
        value = getattr(multipoles, name)
        if value is not None:
            arrays[name] = _shaped(name, value, (*charges.shape, *axes))
    _check_one_dtype(arrays)
    for name, unit in UNITS.items():
        if name in arrays:
            _check_finite(name, arrays[name], unit)
    moments = Multipoles(charges, arrays.get("dipoles"), arrays.get("quadrupoles"))
    return moments, positions


UNITS = {
    "charges": "e",
    "positions": "angstrom",
    "dipoles": "e angstrom",
    "quadrupoles": "e angstrom^2",
}


def _shaped(name: str, value, shape):
    array = _float_array(name, value, str(shape))
    if array.shape != shape:
        raise InputError(f"{name} have shape {array.shape}; here they must be {shape}")
    return array


def _check_one_dtype(arrays) -> None:
    """Refuses JAX arrays of float32 beside float64; NumPy arrays and numbers are converted."""
    given = {name: a.dtype.name for name, a in arrays.items() if isinstance(a, jax.Array)}
    if len(set(given.values())) > 1:
        listed = ", ".join(f"{name} {dtype}" for name, dtype in given.items())
        raise InputError(f"mixed dtypes: {listed}; convert them to one, float32 or float64")


def checked_response(response, moments: Multipoles):
    """The response as arrays, checked for shapes and signs; None where nothing responds."""
    if response is None or not response.responds:
        return None
    if response.mode not in ("one-shot", "self-consistent"):
        raise InputError(
            f"response.mode is '{response.mode}'; it must be 'one-shot' or 'self-consistent'"
        )
    softness, polarizabilities = response.charge_softness, response.polarizabilities
    shape = moments.charges.shape
    if softness is not None:
        softness = _shaped("charge_softness", softness, shape)
        _check_finite("charge_softness", softness, "e/V")
        _check_positive("charge_softness", concrete(softness), "e/V")
    if polarizabilities is not None:
        array = _float_array(
            "polarizabilities", polarizabilities, f"{shape} or {(*shape, 3, 3)}"
        )
        if array.shape not in (shape, (*shape, 3, 3)):
            raise InputError(
                f"polarizabilities have shape {array.shape}; here they must be {shape} or "
                f"{(*shape, 3, 3)}"
            )
        _check_finite("polarizabilities", array, "e angstrom^2/V")
        values = concrete(array)
        if values is not None and array.shape != shape:
            values = np.linalg.eigvalsh(symmetric(values))
        _check_positive("polarizabilities", values, "e angstrom^2/V")
        polarizabilities = array
    return dataclasses.replace(
        response, charge_softness=softness, polarizabilities=polarizabilities
    )


def _check_positive(name: str, values, unit: str) -> None:
    # Rounding may make the zero eigenvalue of a matrix A A^T slightly negative.
    if values is not None and values.min() < -1e-6 * max(np.abs(values).max(), 1e-30):
        where = np.unravel_index(np.argmin(values), values.shape)
        raise InputError(
            f"{name} of atom {where[0]} is {values[where]:.6g} ({unit}); it must not be "
            "negative (nor may an eigenvalue of a matrix): moments would grow without bound"
        )


def field_array(field):
    """The applied field as an array, or None."""
    if field is None:
        return None
    array = _shaped("field", field, (3,))
    _check_finite("field", array, "V/angstrom")
    return array


def summed_rank(moments: Multipoles, response) -> int:
    """Highest moment that is summed, induced dipoles included."""
    has_dipoles = response is not None and response.polarizabilities is not None
    return max(rank_of(moments), int(has_dipoles))


def check_cell(cell: np.ndarray, axes, sigma) -> None:
    """Refuses cells that are thinner than the smeared moments in a periodic direction."""
    vectors = cell.copy()
    if axes:
        normal = area_vector(cell, axes[0])
        area = np.linalg.norm(normal)
        edges = np.linalg.norm(np.delete(cell, axes[0], axis=0), axis=1)
        if not area > 1e-9 * np.prod(edges):
            raise InputError(
                f"cell {cell.tolist()}: the two periodic vectors span no area; a slab needs two"
            )
        vectors[axes[0]] = normal / area * 1e6
    else:
        check_volume(cell)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(vectors), axis=0)
    width = concrete(sigma)
    if width is not None and heights.min() < width:
        raise InputError(
            f"cell is {heights.min():.4g} angstrom thin along vector {int(heights.argmin())}, "
            f"less than sigma = {float(width):g}; repeat the cell or take a smaller sigma"
        )


def cell_array(cell):
    """The cell as an array, checked for shape and finite values."""
    if cell is None:
        raise InputError("cell is None but pbc is True; pass a (3, 3) cell or pbc=False")
    cell = _float_array("cell", cell, "(3, 3)")
    if cell.shape != (3, 3):
        raise InputError(
            f"cell has shape {cell.shape}; it must be (3, 3), rows lattice vectors"
        )
    _check_finite("cell", cell, "angstrom")
    return cell


def checked_plan(plan, method) -> SumPlan | None:
    """The given plan, of which a `KGrid` is the short form; refuses other types."""
    if plan is None:
        return None
    if isinstance(plan, KGrid):
        plan = SumPlan(grid=plan)
    if not isinstance(plan, SumPlan):
        raise InputError(
            f"plan is a {type(plan).__name__}; pass the SumPlan that plan_sum(cell, positions, "
            "pbc, k_max=k_max) makes, or a KGrid"
        )
    if check_method(method) == "mesh" and plan.method == "direct":
        raise InputError(
            f"method is '{method}' but plan is one of the direct sum; plan with plan_sum(cell, "
            "positions, pbc, k_max=k_max, method='mesh')"
        )
    return plan


def check_plan_kind(plan: SumPlan, axes) -> None:
    """Refuses a plan of another kind of structure, e.g. that of a crystal for a slab."""
    axis = axes[0] if axes else None
    planned = None if plan.slab is None else plan.slab.axis
    if not plan.periodic or plan.cluster or planned != axis:
        what = "a crystal" if axis is None else f"a slab open along vector {axis}"
        raise InputError(
            f"plan {tuple(plan)} is not one for {what}; make it with "
            "plan_sum(cell, positions, pbc, k_max=k_max) and the same pbc"
        )


def check_plan(plan: SumPlan, cell: np.ndarray, positions, k_max, sigma) -> None:
    """Refuses a plan that is too small for the cell, or too low for the slab."""
    width = concrete(sigma)
    if plan.slab is not None and positions is not None and width is not None:
        needed = least_slab_height(cell, positions, plan.slab.axis, float(width))
        if needed > plan.slab.height:
            raise InputError(
                f"the slab needs a height of {needed:.4g} angstrom, its plan has "
                f"{plan.slab.height:.4g}; plan again with plan_sum(cell, positions, pbc, ...)"
            )
    radius = concrete(k_max)
    if radius is not None and misses_waves(plan, cell, float(radius)):
        raise InputError(
            f"plan {plan} misses wavevectors of this cell at k_max {float(radius):g}; plan "
            "again with plan_sum(cell, positions, pbc, k_max=k_max)"
        )


def traced_cell_error() -> InputError:
    """The error for a traced cell, from which no plan can be made."""
    return InputError(
        "cell, sigma or k_max (or the positions of a slab) are traced, so the sum cannot be "
        "planned; make "
        "plan = plan_sum(cell, positions, pbc, k_max=k_max) outside and pass plan=plan"
    )
