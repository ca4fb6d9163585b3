"""One structure evaluated by a model: intermediate results, each computed once."""

from collections.abc import Collection
from dataclasses import replace
from functools import cached_property, partial
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.electrostatics.multipoles import Multipoles, summed_channels
from jles.electrostatics.response.applied_field import sum_of_dipoles
from jles.observables.born_charges import (
    BornCharges,
    born_charges,
    coupling_of,
    dipole_current,
    wave_born_charges,
)
from jles.observables.piezoelectricity import strained_current
from jles.observables.polarizability import polarizability
from jles.observables.screening import hidden_polarizability
from jles.observables.stress import energy_and_forces, energy_forces_stress
from jles.structures.structure import Structure
from jles.typing import Cell, Positions

BornMode = Literal["exact", "published", "local"]
"""How Born charges are defined, see `Predictor.predict`."""


class Evaluation:
    """Values of one structure, traced, padding included.

    Only derivatives of the energy and `energy_parts` depend on the field; everything else is a
    derivative at zero field.

    Attributes:
        potential: a `Potential`.
        params: its parameters.
        structure: one structure.
        field: applied field, V/angstrom; None for none.
        want: names of the quantities that will be read: derivatives of the energy among them
            are taken together.
        born_mode: "exact", or "published" for crystals, or "local" for molecules.
    """

    def __init__(
        self,
        potential,
        params,
        structure: Structure,
        field: Float[Array, " 3"] | None = None,
        want: Collection[str] = (),
        born_mode: BornMode = "exact",
    ):
        self.potential, self.params, self.structure = potential, params, structure
        self.field, self.want, self.born_mode = field, set(want), born_mode
        self._derivatives: dict[str, Array] = {}

    def derivative(self, name: Literal["energy", "forces", "stress"]) -> Array:
        """Energy without element energies, forces or stress, in eV and angstrom."""
        if name not in self._derivatives:
            self._derivatives |= self._differentiate(self.want | {name})
        return self._derivatives[name]

    def _differentiate(self, want: set) -> dict[str, Array]:
        def energy_fn(moved, field=self.field):
            if field is None:
                return self.potential.energy_fn(self.params, moved)
            return self.potential.enthalpy_fn(self.params, moved, field)

        if "stress" in want:
            return energy_forces_stress(energy_fn, self.structure, self.field)._asdict()
        # Forces alone need no derivative with respect to the cell.
        if "forces" in want:
            energy, forces = energy_and_forces(energy_fn, self.structure)
            return {"energy": energy, "forces": forces}
        return {"energy": energy_fn(self.structure)}

    @cached_property
    def moments(self) -> Multipoles:
        """Latent moments, induced ones included."""
        return self.potential.moments_fn(self.params, self.structure)

    @property
    def bare_charges(self) -> Float[Array, " atoms"]:
        """Latent charges summed over channels, e."""
        return summed_channels(self.moments.charges)

    @cached_property
    def factor(self) -> Float[Array, ""]:
        """Physical moments are latent moments times this, see `screening`."""
        return self.potential.factor_fn(self.params, self.structure)

    @cached_property
    def dipole(self) -> Float[Array, " 3"]:
        """Dipole, e angstrom; in a crystal per cell, on the branch of the positions."""
        return self.potential.dipole_fn(self.params, self.structure)

    def coupling(
        self,
        positions: Positions,
        field: Float[Array, " 3"],
        cell: Cell | None = None,
        local: bool = False,
    ) -> Float[Array, ""]:
        """E . P as a function of positions, field and cell (by default the structure's).

        `local` as in `Potential.coupling_fn`.
        """
        cell = self.structure.cell if cell is None else cell
        moved = replace(self.structure, positions=positions, cell=cell)
        return self.potential.coupling_fn(self.params, moved, field, local)

    def born_charges(self) -> BornCharges:
        """Born effective charges, e, first index polarization."""
        structure = self.structure
        # The published formula differs for the charges of a crystal only.
        if self.born_mode != "published" or not structure.plan.periodic:
            coupling = partial(self.coupling, local=self.born_mode == "local")
            return born_charges(coupling, structure.positions)

        def moments(positions):
            moved = replace(structure, positions=positions)
            return self.potential.moments_fn(self.params, moved)

        def dipoles(positions):
            return sum_of_dipoles(moments(positions).dipoles, positions.dtype)

        waves = wave_born_charges(
            lambda positions: summed_channels(moments(positions).charges),
            structure.positions,
            structure.cell,
            structure.mask,
        )
        return self.factor * (waves + born_charges(coupling_of(dipoles), structure.positions))

    def current(
        self,
        velocities: Float[Array, "atoms 3"],
        strain_rate: Float[Array, "3 3"] | None = None,
    ) -> Float[Array, " 3"]:
        r"""Rate of the polarization, e angstrom per unit of time of the velocities.

        .. math:: \dot P = \sum_i Z^*_i (v_i - \bar v) + Q \bar v

        with the mean velocity :math:`\bar v` of the atoms and the total charge Q. A drift of
        all atoms transports the total charge only, also where Born charges break the acoustic
        sum rule.

        In a cell that changes at a `strain_rate` the velocities are relative to the cell, and
        the current is that of `strained_current`.
        """
        structure = self.structure
        weight = structure.mask.astype(velocities.dtype)[:, None]
        drift = jnp.sum(weight * velocities, axis=0) / jnp.sum(weight)
        relative = weight * (velocities - drift)
        if strain_rate is None:
            internal = dipole_current(self.coupling, structure.positions, relative)
        else:
            places = structure.positions, structure.cell
            internal = strained_current(self.cell_coupling, *places, relative, strain_rate)
        return internal + structure.total_charge * drift

    def hidden_polarizability(self) -> Float[Array, "3 3"]:
        """Of a crystal's electrons that the model does not describe, e angstrom^2/V."""
        volume = jnp.abs(jnp.linalg.det(self.structure.cell))
        return hidden_polarizability(self.factor**2, volume)

    def cell_coupling(
        self, positions: Positions, cell: Cell, field: Float[Array, " 3"]
    ) -> Float[Array, ""]:
        """E . P as a function of positions, cell and field."""
        return self.coupling(positions, field, cell)

    def polarizability(self, positions: Positions | None = None) -> Float[Array, "3 3"]:
        """Polarizability at zero field as a function of positions, e angstrom^2/V."""
        positions = self.structure.positions if positions is None else positions
        moved = replace(self.structure, positions=positions)
        zero = jnp.zeros(3, positions.dtype)
        return polarizability(
            lambda field: self.potential.enthalpy_fn(self.params, moved, field), zero
        )
