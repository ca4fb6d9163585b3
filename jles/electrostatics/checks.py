"""What `lattice_sum` checks on the host, and what it says when something is not right."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jles.electrostatics.kgrid import KGrid, kgrid_overflow, plan_kgrid
from jles.errors import InputError


def concrete(array) -> np.ndarray | None:
    """The values in float64 where they are known (also under `jax.grad`), None under `jit`."""
    # A NumPy array must not meet an operation of JAX, which would make it a tracer under jit.
    known = lax.stop_gradient(array) if isinstance(array, jax.Array) else array
    try:
        return np.asarray(known, dtype=np.float64)
    except jax.errors.TracerArrayConversionError:
        return None


def check_scope(multipoles, response, field, method: str) -> None:
    """Refuses what this version does not sum."""
    for name in ("dipoles", "quadrupoles"):
        if getattr(multipoles, name) is not None:
            raise InputError(f"{name} were given, but this version sums charges only; pass None")
    answers = response is not None and (
        response.charge_softness is not None or response.polarizabilities is not None
    )
    if answers:
        raise InputError(
            "a response was given, but this version sums fixed charges only; pass response=None"
        )
    if field is not None:
        raise InputError(
            f"field {field} was given, but this version sums charges without an applied field; "
            "pass field=None"
        )
    if method not in ("ewald", "auto"):
        raise InputError(
            f"method is '{method}'; this version has 'ewald' ('auto' chooses it as well)"
        )


def check_options(sigma, k_max, cutoff: str, background: str) -> None:
    """Refuses widths and cutoffs that are not positive, and unknown words."""
    for name, value, unit in (("sigma", sigma, "angstrom"), ("k_max", k_max, "1/angstrom")):
        number = concrete(value)
        if number is not None and not (number.ndim == 0 and 0.0 < number < np.inf):
            raise InputError(f"{name} must be one positive number ({unit}), got {value}")
    if cutoff not in ("sharp", "smooth"):
        raise InputError(f"cutoff is '{cutoff}'; it must be 'sharp' or 'smooth'")
    if background not in ("smeared", "point"):
        raise InputError(f"background is '{background}'; it must be 'smeared' or 'point'")


def is_periodic(pbc) -> bool:
    """True for a crystal, False for a cluster; slabs and wires are refused."""
    flags = np.asarray(pbc)
    if flags.shape not in ((), (3,)) or flags.dtype != bool:
        raise InputError(f"pbc must be True, False or three booleans, got {pbc}")
    if flags.any() and not flags.all():
        raise InputError(
            f"pbc is {flags.tolist()}, periodic in {int(flags.sum())} of three directions; "
            "this version sums crystals (all) and clusters (none)"
        )
    return bool(flags.all())


def _float_array(name: str, value, shapes: str):
    """`value` as an array of JAX, if it is one, or of NumPy; integers become floats."""
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
            f"{name}{where.tolist()} is {values[tuple(where)]}; it must be a finite number ({unit})"
        )


def charges_and_positions(charges, positions):
    """Both as arrays, checked for shape and finite values; not yet of one dtype."""
    charges = _float_array("charges", charges, "(atoms,) or (atoms, channels)")
    positions = _float_array("positions", positions, "(atoms, 3)")
    if positions.ndim != 2 or positions.shape[1] != 3 or positions.shape[0] == 0:
        raise InputError(f"positions have shape {positions.shape}; they must be (atoms, 3)")
    atoms = positions.shape[0]
    if charges.ndim not in (1, 2) or charges.shape[0] != atoms or charges.size == 0:
        raise InputError(
            f"charges have shape {charges.shape}; with {atoms} positions they must be "
            f"({atoms},) or ({atoms}, channels)"
        )
    _check_finite("charges", charges, "e")
    _check_finite("positions", positions, "angstrom")
    return charges, positions


def cell_array(cell):
    """The cell as an array, checked for shape and finite values."""
    if cell is None:
        raise InputError("cell is None but pbc is True; pass a (3, 3) cell or pbc=False")
    cell = _float_array("cell", cell, "(3, 3)")
    if cell.shape != (3, 3):
        raise InputError(f"cell has shape {cell.shape}; it must be (3, 3), rows lattice vectors")
    _check_finite("cell", cell, "angstrom")
    return cell


def check_grid(grid: KGrid, cell: np.ndarray, k_max) -> None:
    """Refuses a plan that is too small for the cell."""
    if concrete(k_max) is not None and kgrid_overflow(grid, cell, k_max):
        raise InputError(
            f"grid {tuple(grid)} misses wavevectors of this cell, which needs "
            f"{tuple(plan_kgrid(cell, k_max))}; plan again with plan_kgrid(cell, k_max)"
        )


def traced_cell_error() -> InputError:
    """Under jit or vmap the number of wavevectors cannot be read off the cell."""
    return InputError(
        "cell is traced by jit or vmap, so the sum cannot be planned from it; make "
        "grid = plan_kgrid(cell, k_max) outside and pass grid=grid"
    )
