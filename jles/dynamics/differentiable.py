r"""Trajectories that can be differentiated.

`simulate` makes steps of any jax-md integrator in one `lax.scan`. Its last state and its
records can be differentiated with respect to everything that went in: parameters of the
energy, initial positions and velocities, temperature, the field as a function of time. Reverse
mode keeps the state of every step and recomputes the rest (`jax.checkpoint`), so its memory
does not grow with the size of the network times the number of steps.

Gradients through a trajectory grow as the trajectories themselves diverge, exponentially in a
chaotic system: over more than a few picoseconds of a liquid they are too large to be of use.

Source: Schoenholz, Cubuk, J. Stat. Mech. 124016 (2021), for jax-md; of the nested
checkpointing Griewank, Optim. Methods Softw. 1, 35 (1992).
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jles.dynamics.integrators import quiet, shift
from jles.dynamics.units import FEMTOSECOND
from jles.errors import InputError
from jles.jax_md.chains import keep_dtypes
from jles.observables.born_charges import Coupling, Dipole, dipole_current
from jles.structures.structure import HostOrDevice
from jles.typing import Positions, Scalar

State = Any
"""State of a jax-md integrator, a pytree."""

Apply = Callable[..., State]
"""The step of a jax-md integrator: `apply(state, **arguments) -> state`."""

Changing = Mapping[str, Callable[[Scalar], Array] | HostOrDevice]
"""Arguments of `apply` that change with time, see `simulate`."""


def velocity_verlet(energy_or_force_fn: Callable, masses, timestep: Scalar):
    """`jax_md.simulate.nve` in the units of jles, with velocities instead of a temperature.

    Args:
        energy_or_force_fn: `(positions, **arguments)` to the energy (eV) or the forces
            (eV/angstrom).
        masses: (atoms,), u.
        timestep: fs.

    Returns:
        `init(positions, velocities, **arguments) -> state` with positions in angstrom and
        velocities in angstrom/fs, and `apply(state, **arguments) -> state`. The arguments, for
        instance `field`, go to `energy_or_force_fn`; those of `init` are the ones at time 0.
    """
    from jax_md import simulate

    start, apply = simulate.nve(energy_or_force_fn, shift, timestep * FEMTOSECOND)

    def init(positions: Positions, velocities: Float[Array, "atoms 3"], **arguments):
        mass = jnp.asarray(masses, positions.dtype)
        momenta = mass[:, None] * velocities / FEMTOSECOND
        # The key and the temperature are not used where momenta are given.
        return start(None, positions, None, mass=mass, momenta=momenta, **arguments)

    return init, apply


def simulate(
    apply: Apply,
    state: State,
    steps: int,
    timestep: Scalar,
    *,
    forcing: Changing | None = None,
    observe: Callable[[State], Any] = lambda state: None,
    every: int = 1,
    segment: int | None = None,
) -> tuple[State, Any]:
    """Makes steps of an integrator, for `jit`, `grad` and `jvp`.

    State n belongs to the time n times `timestep`. A step takes its arguments at the time where
    it ends, as velocity Verlet and BAOAB need them.

    Args:
        apply: the step of a jax-md integrator. A neighbour list, a cell or parameters that stay
            the same can be bound to it with `functools.partial`.
        state: the initial state, from the `init` of the same integrator.
        steps: number of steps.
        timestep: fs; must be the one of the integrator.
        forcing: arguments of `apply` that change: functions of the time in fs, or arrays with
            one row per step, whose row n is the value at the end of step n. For instance
            `{"field": pulse, "kT": ramp}`, in V/angstrom and eV.
        observe: `state -> records`, a pytree of arrays.
        every: number of steps between records.
        segment: number of steps whose states reverse mode keeps together. Without it the states
            of all steps are kept, 6 numbers per atom and step. With it one state per segment is
            kept, and those within a segment are computed once more: memory for
            steps / segment + segment states, least at the square root of `steps`, for one more
            forward run.

    Returns:
        the last state, and the records of state 0 and of every `every`-th state: each leaf has
        a leading axis of steps / every + 1.

    Raises:
        InputError: `steps` is no multiple of `every` and `segment`, or an array of the forcing
            has the wrong number of rows.
    """
    forcing = dict(forcing or {})
    _check_lengths(steps, every, segment or every)
    functions = {name: value for name, value in forcing.items() if callable(value)}
    tables = {name: _table(name, forcing[name], steps) for name in forcing.keys() - functions}
    dtype = _dtype(state)

    @_checkpointed
    def step(state, inputs):
        number, rows = inputs
        time = (number + 1).astype(dtype) * timestep
        arguments = rows | {name: function(time) for name, function in functions.items()}
        with quiet():
            after = apply(state, **arguments)
        return keep_dtypes(state, after), None

    observe_again = _checkpointed(observe)

    def stretch(state, inputs):
        """The steps from one record to the next."""
        state, _ = lax.scan(step, state, inputs)
        return state, observe_again(state)

    def stretches(state, inputs):
        return lax.scan(stretch, state, inputs)

    first = observe(state)
    inputs = (jnp.arange(steps, dtype=jnp.int32), tables)
    if segment is None:
        last, records = stretches(state, _split(inputs, every))
    else:
        inputs = _split(_split(inputs, every), segment // every)
        last, records = lax.scan(_checkpointed(stretches), state, inputs)
        records = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), records)
    joined = jax.tree.map(lambda one, more: jnp.concatenate([one[None], more]), first, records)
    return last, joined


def current(
    polarization: Dipole | Coupling, state: State, mode: str = "forward"
) -> Float[Array, " 3"]:
    r"""Rate of the polarization in a state, :math:`\dot P = \sum_i Z^*_i v_i`, e angstrom/fs.

    Args:
        polarization: a dipole function of the positions or a coupling, see
            `jles.observables.born_charges`; of a crystal take `coupling_fn` of a model.
        state: of a jax-md integrator in the units of `jles.dynamics.units`.
        mode: see `dipole_current`.
    """
    velocities = state.momentum / state.mass * FEMTOSECOND
    return dipole_current(polarization, state.position, velocities, mode)


def integrated(rates: Float[Array, "records ..."], interval: Scalar) -> Float[Array, "..."]:
    r"""Change over a trajectory of a quantity whose rates are known: the trapezoidal rule.

    With the records of `current`, the change of polarization in e angstrom. Of a crystal it
    includes charge that crosses the boundary of the cell, and its gradient is that of its
    value; see docs/dynamics.md.

    Args:
        rates: at equal intervals, per fs.
        interval: time between two of them, fs.
    """
    return jnp.trapezoid(rates, dx=interval, axis=0)


def _checkpointed(function):
    # Within a loop, XLA cannot undo the recomputation; its barriers would only cost time.
    return jax.checkpoint(function, prevent_cse=False)


def _check_lengths(steps: int, every: int, segment: int) -> None:
    if steps < 1 or every < 1 or steps % every:
        raise InputError(f"steps: must be a positive multiple of every ({every}), got {steps}")
    if segment < 1 or segment % every or steps % segment:
        raise InputError(
            f"segment: must be a multiple of every ({every}) that divides steps ({steps}), "
            f"got {segment}"
        )


def _table(name: str, rows, steps: int) -> Array:
    rows = jnp.asarray(rows)
    if rows.ndim == 0 or len(rows) != steps:
        raise InputError(
            f"forcing['{name}']: must have one row for each of the {steps} steps, "
            f"got shape {rows.shape}"
        )
    return rows


def _split(inputs, length: int):
    """The leading axis of every array in parts of `length`."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, length, *leaf.shape[1:]), inputs)


def _dtype(state):
    """The floating-point type of a state."""
    types = (jnp.result_type(leaf) for leaf in jax.tree.leaves(state))
    return next(dtype for dtype in types if jnp.issubdtype(dtype, jnp.floating))
