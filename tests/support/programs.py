"""The public programs of jles in float32, lowered for CPU, CUDA and TPU without compiling."""

from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import jax.numpy as jnp
import numpy as np

from jles.dynamics.block import BlockState, RunPlan, advance, start_motion
from jles.dynamics.config import Constant
from jles.dynamics.fields import wave
from jles.dynamics.forces import Forcing
from jles.dynamics.integrators import langevin, quiet
from jles.dynamics.model_system import model_system
from jles.dynamics.system import Capacity
from jles.electrostatics import Multipoles, Response, lattice_sum
from jles.electrostatics.plan import plan_sum
from jles.models.backbones.mace_config import MaceConfig
from jles.models.config import (
    DirectCharges,
    ElectrostaticsConfig,
    EquilibratedCharges,
    FlowCharges,
    MomentConfig,
    ReadoutConfig,
    ResponseConfig,
    SoftnessConfig,
    TensorPolarizability,
)
from jles.observables.born_charges import dipole_current
from jles.predict.model import Model
from jles.quantities.catalogue import QUANTITIES
from jles.quantities.evaluation import Evaluation
from jles.structures.search import plan_search, search
from jles.train.config import OptimizerConfig
from jles.train.losses import Weights
from jles.train.optimizer import build_optimizer
from jles.train.step import build_steps
from tests.support.lowered import Program, lowered
from tests.support.small_systems import (
    TRICLINIC,
    mixed_frames,
    rattled,
    small_backbone,
    small_config,
    small_model,
    structure_of,
)
from tests.support.training import frames_of, loader_of

F32 = np.float32
FIELD = np.array([0.01, 0.0, 0.02], F32)
BOUNDARIES = {
    "crystal": (True, True, True),
    "slab": (True, True, False),
    "cluster": (False, False, False),
}

# No axis of the networks is three long: one that is belongs to space.
_SIZES = {"n_rbf": 4, "n_radial_basis": 2, "n_atom_basis": 2, "body_order": 2}
PLAIN = small_config(
    backbone=small_backbone(**_SIZES, l_max=1),
    charges=DirectCharges(hidden=(4,), total="shift"),
)
EVERYTHING = small_config(
    backbone=small_backbone(**_SIZES, l_max=2, layers=1),
    charges=FlowCharges(hidden=(4,)),
    dipoles=MomentConfig((4,), 2),
    quadrupoles=MomentConfig((4,), 2),
    polarizability=TensorPolarizability((4,), channels=2),
)
LAYERED = PLAIN.replace(backbone=small_backbone(**_SIZES, l_max=1, layers=1))
SOFT = PLAIN.replace(charge_softness=SoftnessConfig((4,)))
METAL = SOFT.replace(response=ResponseConfig(mode="self-consistent"))
EQUILIBRATED = PLAIN.replace(charges=EquilibratedCharges(hidden=(4,)))
MACE = PLAIN.replace(
    backbone=MaceConfig(
        2.8,
        hidden_irreps="2x0e + 2x1o",
        max_ell=2,
        correlation=2,
        num_bessel=4,
        radial_MLP=(4,),
    )
)
MESH = PLAIN.replace(electrostatics=ElectrostaticsConfig(method="mesh"))


def _case(config, kind="crystal"):
    potential, params = small_model(config, dtype=F32)
    atoms = rattled(0, count=7)
    atoms.pbc = BOUNDARIES[kind]
    method = "mesh" if config.electrostatics.method == "mesh" else "direct"
    return potential, params, structure_of(atoms, potential, dtype=F32, method=method)


def quantity(config, kind, name, field=None) -> Program:
    """A quantity of the catalogue."""
    potential, params, structure = _case(config, kind)

    def value(params, structure, field):
        evaluation = Evaluation(potential, params, structure, field, want={name})
        return QUANTITIES[name].of(evaluation)

    return lowered(value, params, structure, field)


def current(config) -> Program:
    """The current of a crystal."""
    potential, params, structure = _case(config)

    def value(params, structure, velocities):
        coupling = Evaluation(potential, params, structure).coupling
        return dipole_current(coupling, structure.positions, velocities)

    return lowered(value, params, structure, structure.positions)


def gradient_of_compiled(config) -> Program:
    """Gradient of a compiled E . P, whose derivative rules are traced after its value."""
    potential, params, structure = _case(config)

    @jax.jit
    def coupling(params, positions, structure, field):
        moved = replace(structure, positions=positions)
        return potential.coupling_fn(params, moved, field)

    return lowered(jax.grad(coupling, (0, 1)), params, structure.positions, structure, FIELD)


def training() -> Program:
    """A training step on energy, forces and stress of crystals and clusters."""
    potential, params = small_model(
        PLAIN.replace(
            electrostatics=ElectrostaticsConfig(k_max=2.0),
            energy=ReadoutConfig(hidden=(8, 8)),  # a matrix for Muon
        ),
        dtype=F32,
    )
    with TemporaryDirectory() as folder:
        frames = frames_of(mixed_frames(3), Path(folder))
    loader = loader_of(frames, 3, k_max=2.0, max_buckets=1, dtype=F32)
    (batch,) = loader.epoch(None)
    optimizer = build_optimizer(OptimizerConfig(name="muon"))
    steps = build_steps(potential, optimizer, ("energy", "forces", "stress"))
    state, weights = jax.eval_shape(steps.init, params), Weights(F32(1), F32(1), F32(1))
    rates = F32(0.01), F32(0.9)
    # Optax needs promotion of types.
    return lowered(
        steps.train, state, batch.structure, batch.labels, weights, *rates, strict=False
    )


def neighbor_search(binned) -> Program:
    """The neighbour search on the device."""
    atoms = rattled(0, count=7)
    plan = plan_search(atoms.positions, TRICLINIC, atoms.pbc, 2.8, 40, binned=binned)
    shapes = (7, 3), (3, 3)
    arrays = [jax.ShapeDtypeStruct(shape, F32) for shape in shapes]
    return lowered(partial(search, plan), *arrays)


def dynamics() -> Program:
    """A step of a run with a thermostat, in a field."""
    potential, params = small_model(PLAIN, dtype=F32)
    atoms = rattled(0, count=7)
    model = Model(potential.config, params, "float32", "model")
    system = model_system(model, atoms, skin=0.3, moves_cell=False, in_field=True)
    neighbors, _ = system.rebuild_neighbors(atoms.positions, atoms.cell.array, Capacity())
    masses = jnp.asarray(atoms.get_masses()[:, None], F32)
    plan = RunPlan(system, langevin(masses, 1.0, 5.0), {}, masses, 1.0, 1)
    field = wave(Constant(amplitude=tuple(map(float, FIELD)), unit="V/angstrom"), F32)
    forcing = Forcing(jnp.full(2, 0.02, F32), jnp.float32(10.0), field)

    def step(positions, momenta, cell, key, neighbors, forcing):
        motion = start_motion(plan, positions, momenta, cell, neighbors, forcing, key)
        state = BlockState(motion, jnp.int32(0), jnp.int32(0))
        return advance(plan, state, neighbors, forcing)

    shapes = (7, 3), (7, 3), (3, 3)
    arrays = [jax.ShapeDtypeStruct(shape, F32) for shape in shapes]
    # jax-md needs promotion of types.
    with quiet():
        return lowered(step, *arrays, jax.random.key(0), neighbors, forcing, strict=False)


def sum_of_arrays(method) -> Program:
    """Energy, field and response of arrays, self-consistent."""
    plan = plan_sum(TRICLINIC, np.zeros((7, 3)), True, k_max=2.0, method=method, rank=1)
    response = Response(polarizabilities=jnp.full(7, 0.05, F32), mode="self-consistent")

    def value(charges, dipoles, positions, cell, field):
        out = lattice_sum(
            *(Multipoles(charges, dipoles), positions, cell),
            **{"response": response, "field": field, "plan": plan, "parts": True},
        )
        return out.energy, out.field, out.parts

    shapes = (7,), (7, 3), (7, 3), (3, 3), (3,)
    return lowered(value, *(jax.ShapeDtypeStruct(shape, F32) for shape in shapes))


PROGRAMS = {
    "stress": (quantity, EVERYTHING, "crystal", "stress"),
    "stress in a field": (quantity, PLAIN, "crystal", "stress", FIELD),
    "Born charges": (quantity, LAYERED, "crystal", "born_charges"),
    "Born charges that respond": (quantity, SOFT, "crystal", "born_charges"),
    "polarization": (quantity, PLAIN, "crystal", "polarization"),
    "piezoelectric tensor": (quantity, PLAIN, "crystal", "piezoelectric"),
    "current": (current, PLAIN),
    "gradient of a compiled function": (gradient_of_compiled, LAYERED),
    "slab in a field": (quantity, PLAIN, "slab", "forces", FIELD),
    "cluster in a field": (quantity, EVERYTHING, "cluster", "forces", FIELD),
    "quadrupole": (quantity, EVERYTHING, "cluster", "quadrupole"),
    "self-consistent": (quantity, METAL, "cluster", "forces", FIELD),
    "equilibrated": (quantity, EQUILIBRATED, "cluster", "forces", FIELD),
    "mesh": (quantity, MESH, "crystal", "stress"),
    "lattice_sum": (sum_of_arrays, "direct"),
    "lattice_sum on a mesh": (sum_of_arrays, "mesh"),
    "neighbour search": (neighbor_search, False),
    "neighbour search in bins": (neighbor_search, True),
    "MACE": (quantity, MACE, "crystal", "stress"),
    "Born charges of MACE": (quantity, MACE, "crystal", "born_charges"),
    "gradient of a compiled MACE": (gradient_of_compiled, MACE),
    "dynamics": (dynamics,),
    "training": (training,),
}


@cache
def program(name: str) -> Program:
    """A program by its name in `PROGRAMS`."""
    make, *arguments = PROGRAMS[name]
    return make(*arguments)
