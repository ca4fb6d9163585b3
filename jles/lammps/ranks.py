"""Sums over the ranks of a communicator, with their times and bytes."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jles.domains.rank_sums import RankSums
from jles.lammps.charge_sum import ChargeSum
from jles.lammps.tally import Tally, timed


class Failed(Exception):
    """An error that every rank knows of, with the same message on all of them."""


class Ranks:
    """All ranks, as seen by one of them; every function is called by all.

    Args:
        comm: communicator of mpi4py.
        tally: of this rank.
    """

    def __init__(self, comm, tally: Tally):
        self._comm, self._tally = comm, tally

    def waiting(self):
        """A `with` block whose time is spent in MPI."""
        return timed(self._tally.exchange)

    def check(self, message: str) -> None:
        """Agrees with the other ranks that none of them has failed.

        Raises:
            Failed: one has, `message` is its error; on every rank.
        """
        with self.waiting():
            failed = np.array([bool(message)], np.int64)
            self._comm.Allreduce(failed.copy(), failed)
            if failed[0]:
                raise Failed(next(filter(None, self._comm.allgather(message))))

    def sums(self, own: RankSums | ChargeSum) -> RankSums | ChargeSum:
        """Sums over the atoms of all ranks."""
        own = jax.tree.map(np.asarray, own)
        self._tally.sums += sum(array.nbytes for array in jax.tree.leaves(own))
        total = jax.tree.map(np.empty_like, own)
        with self.waiting():
            jax.tree.map(self._comm.Allreduce, own, total)
        return jax.tree.map(jnp.asarray, total)

    def array(self, own: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """The sum of arrays over ranks."""
        total = np.empty_like(own)
        with self.waiting():
            self._comm.Allreduce(own, total)
        return total

    def number(self, value) -> float:
        """The sum of single numbers."""
        return float(self.array(np.array([float(value)]))[0])
