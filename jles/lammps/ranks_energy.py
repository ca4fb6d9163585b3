"""From the network output of every rank to the energy of all of them and its derivatives."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from jles.domains.rank_sums import RankSums
from jles.electrostatics.plan import SumPlan
from jles.lammps.charge_sum import ChargeSum, charge_sum
from jles.lammps.equilibrated_part import Equilibration, equilibrated_part
from jles.lammps.induced_part import (
    RespondingPart,
    induced_part,
    responding_part,
    responding_pull,
)
from jles.lammps.network_pass import NetworkPass, Own
from jles.lammps.own_part import (
    Derivatives,
    OwnPart,
    Pull,
    own_part,
    pulled,
    through_network,
)
from jles.lammps.rank_arrays import Moments
from jles.lammps.ranks import Ranks
from jles.lammps.relaxed_part import Relaxation, relaxed_part
from jles.models.config import ModelConfig
from jles.typing import Cell


class RankState(NamedTuple):
    """A rank after its network.

    Attributes:
        network: of the rank.
        own: its output, with equilibrated charges where the model has them.
        total: the sum of the charges of all ranks; None where it is free.
        cell: rows are lattice vectors, angstrom.
        plan: of the sum.
        part: permanent moments of the rank.
    """

    network: NetworkPass
    own: Own
    total: ChargeSum | None
    cell: Cell
    plan: SumPlan
    part: OwnPart | RespondingPart


class RanksEnergy:
    """The functions of a rank after its network, each compiled once for every plan.

    `start` is called first, then `finish`, by all ranks.

    Args:
        config: of the model.
        ranks: sums over them.
        total_charge: of all ranks, e.
        computing: makes a `with` block whose time is spent in the model.
    """

    def __init__(self, config: ModelConfig, ranks: Ranks, total_charge: float, computing):
        self._config, self._ranks, self._computing = config, ranks, computing
        self._total_charge = total_charge
        self._charge_sum = jax.jit(charge_sum)
        charges = config.charges
        self._equilibrates = charges is not None and charges.kind == "equilibrated"
        self._equilibration = Equilibration()
        permanent = responding_part if config.responds else own_part
        of_rank = equilibrated_part if self._equilibrates else permanent
        self._own_part = jax.jit(of_rank, static_argnums=(3, 4))
        self._pulled = jax.jit(pulled, static_argnums=(3, 4))
        self._induced_part = jax.jit(induced_part, static_argnums=(3, 4))
        self._responding = jax.jit(responding_pull, static_argnums=(5, 6))
        self._relaxation = Relaxation()
        self._relaxed_part = jax.jit(relaxed_part, static_argnums=(4, 5))
        self._through_network = jax.jit(through_network)

    def start(self, network: NetworkPass, cell: Cell, plan: SumPlan) -> RankState:
        """Permanent moments of this rank, or equilibrated charges.

        Raises:
            InputError: the charges do not converge; on every rank.
        """
        total, own = self._sum_of_charges(network), network.own
        with self._computing():
            how = plan, self._config.electrostatics
            if self._equilibrates:
                own = self._equilibration(own, cell, *how, self._total_charge, self._ranks)
            part = jax.block_until_ready(self._own_part(own, total, cell, *how))
        return RankState(network, own, total, cell, plan, part)

    def finish(
        self, state: RankState, field: Float[Array, " 3"] | None
    ) -> tuple[float, Moments, Derivatives]:
        """Energy of this rank (eV), its effective moments, and derivatives.

        Args:
            state: of this rank.
            field: applied, latent, V/angstrom; None for none.

        Raises:
            InputError: self-consistent moments do not converge; on every rank.
        """
        sums = self._ranks.sums(state.part.sums)
        if not self._config.responds:
            found = self._ended(state, state.part, sums)
        elif self._config.response.mode == "self-consistent":
            found = self._relax(state, sums, field)
        else:
            found = self._respond(state, sums, field)
        energy, moments, pull = found
        by_total = None if pull.total is None else self._ranks.sums(pull.total)
        with self._computing():
            start = state.network, state.own, state.total
            derivatives = self._through_network(*start, pull, by_total)
            return energy, moments, jax.block_until_ready(derivatives)

    def _sum_of_charges(self, network: NetworkPass) -> ChargeSum | None:
        with self._computing():
            own = self._charge_sum(network.own)
        if own is None:
            return None
        total = self._ranks.sums(own)
        return total._replace(missing=total.missing + self._total_charge)

    def _start_of(self, state: RankState) -> tuple:
        """The arguments of the functions of a rank: the first ones, and the static ones."""
        how = state.plan, self._config.electrostatics
        return (state.network.own, state.total, state.cell), how

    def _respond(self, state: RankState, sums: RankSums, field):
        start, how = self._start_of(state)
        with self._computing():
            induced = self._induced_part(state.part, sums, state.cell, *how, field)
            induced = jax.block_until_ready(induced)
        both = self._ranks.sums(induced.sums)
        with self._computing():
            energy, pull = self._responding(*start, sums, both, *how, field)
        charges = np.asarray(induced.charges, np.float64)
        return float(energy), Moments(charges, induced.dipole, state.part.dipole), pull

    def _relax(self, state: RankState, sums: RankSums, field):
        start, how = self._start_of(state)
        with self._computing():
            arguments = state.part.own, sums, state.cell, *how, field, self._ranks
            local = self._relaxation(*arguments)
            whole = self._relaxed_part(*start, local, *how, field)
            whole = jax.block_until_ready(whole)
        return self._ended(state, whole, self._ranks.sums(whole.sums))

    def _ended(
        self, state: RankState, part: OwnPart, sums: RankSums
    ) -> tuple[float, Moments, Pull]:
        """For a part whose moments are fixed."""
        how = state.plan, self._config.electrostatics
        with self._computing():
            pull = self._pulled(part, sums, state.cell, *how)
        charges = np.asarray(part.charges, np.float64)
        return float(part.energy), Moments(charges, part.dipole, state.part.dipole), pull
