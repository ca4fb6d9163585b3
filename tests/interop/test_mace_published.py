"""Imported MACE and MACE-LES models give the published numbers, in float64."""

from functools import cache

import jax
import numpy as np
import pytest

from jles.electrostatics import ewald_energy
from jles.interop.torch_import import import_torch
from jles.models.potential import build_potential
from jles.observables.stress import energy_forces_stress
from jles.structures.batch import build_structure, pad_structure, size_of
from tests.support.marks import long_unless
from tests.support.paths import golden_path, model_path
from tests.support.small_systems import relative

MODELS = ("dipep_mace_r4", "dipep_maceles_r4", "water_mace_r4.5_nl1", "water_maceles_r4.5_nl1")
SHORT = {"dipep_maceles_r4"}
"""Compiles and runs in a few seconds, and has all parts; the others say as much."""


@cache
def imported(model: str):
    """Configuration, parameters and compiled function of a published model."""
    config, params = import_torch(model_path(f"mace/{model}.model"))
    potential = build_potential(config)

    def energy_of_fixed_sum(params, structure, fixed):
        """The lattice sum is that of the fixed positions and cell, its charges are not."""
        long_range = ewald_energy(
            potential.charges_fn(params, structure)[:, 0],
            fixed.positions,
            fixed.cell,
            sigma=config.electrostatics.sigma,
            k_max=config.electrostatics.k_max,
            grid=fixed.plan.grid,
            remove_self=config.electrostatics.remove_self,
        )
        return potential.parts_fn(params, structure).short_range + long_range

    def outputs(params, structure):
        found = energy_forces_stress(lambda s: potential.energy_fn(params, s), structure)
        parts = potential.parts_fn(params, structure)
        charges = potential.charges_fn(params, structure)
        features = potential.features_fn(params, structure).invariants
        stress = found.stress
        if config.charges is not None and structure.plan.periodic:
            stress = energy_forces_stress(
                lambda s: energy_of_fixed_sum(params, s, structure), structure
            ).stress
        return {
            "charges": charges,
            "features": features,
            "parts": parts,
            **found._asdict(),
            "published_stress": stress,
        }

    options = {"xla_backend_optimization_level": 0}
    return config, params, jax.jit(outputs, compiler_options=options)


@pytest.mark.parametrize(
    ("model", "frame"),
    [long_unless(model in SHORT and n == 0, model, n) for model in MODELS for n in range(3)],
)
def test_numbers_are_the_published_ones(model, frame):
    golden = np.load(golden_path(f"mace/{model}_{frame}.npz"))
    config, params, outputs = imported(model)
    structure = build_structure(
        golden["numbers"],
        golden["positions"],
        golden["cell"],
        golden["pbc"],
        cutoff=config.backbone.cutoff,
        k_max=config.electrostatics.k_max if config.charges else None,
        dtype=np.float64,
    )
    size = size_of(structure)
    structure = pad_structure(structure, size._replace(neighbors=-(-size.neighbors // 8) * 8))
    found = jax.device_get(outputs(params, structure))
    by_number = dict(zip(config.numbers, config.elements, strict=True))
    energies = [config.element_energies[by_number[z]] for z in golden["numbers"]]
    assert relative(found["energy"] + sum(energies), golden["energy"]) < 1e-7
    bonds = golden["energy"] - sum(energies)
    assert abs(found["energy"] - bonds) < 1e-5  # eV; element energies cancel most digits
    assert relative(found["forces"], golden["forces"]) < 1e-6
    assert relative(found["features"], golden["node_feats"]) < 1e-6
    if golden["pbc"].all():
        # The published stress of MACE-LES leaves out that strain moves the atoms and the cell
        # of the lattice sum; the stress of jles does not.
        assert relative(found["published_stress"], golden["stress"][0]) < 1e-6
    if config.charges is not None:
        charges = golden["latent_charges"] * config.charges.scale
        assert relative(found["charges"][:, 0], charges) < 1e-6
        assert relative(found["parts"].long_range, golden["les_energy"][0]) < 1e-6
