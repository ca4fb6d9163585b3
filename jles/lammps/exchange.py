"""The owners of a rank's ghosts, and the exchange of forces on ghosts.

The communicator is that of mpi4py. Every function that takes one is called by all ranks.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Exchange(NamedTuple):
    """Destinations of the forces on ghosts, until LAMMPS makes new lists.

    Attributes:
        send: places of ghosts among the atoms of this rank, those of the first rank first.
        send_counts: how many for each rank.
        receive: places of own atoms in the order in which forces on them arrive.
        receive_counts: how many from each rank.
    """

    send: Int[np.ndarray, " ghosts"]
    send_counts: Int[np.ndarray, " ranks"]
    receive: Int[np.ndarray, " received"]
    receive_counts: Int[np.ndarray, " ranks"]


def unique_atoms(tags: Int[np.ndarray, " all"], own: int) -> Int[np.ndarray, " atoms"]:
    """Places of the own atoms, and then of one image of every other atom.

    Args:
        tags: atom IDs of own atoms and ghosts, as LAMMPS has them.
        own: how many of them are the rank's own, the first ones.
    """
    others, places = np.unique(tags[own:], return_index=True)
    is_other = ~np.isin(others, tags[:own])
    return np.concatenate([np.arange(own), own + np.sort(places[is_other])])


def plan_exchange(comm, tags: Int[np.ndarray, " atoms"], own: int) -> Exchange:
    """Finds the owners of ghosts.

    Rank `tag % ranks` knows who owns an atom: owners tell it, and those who have a ghost ask
    it. No rank holds a table of all atoms.

    Args:
        comm: of all ranks.
        tags: IDs of own atoms, and then of ghosts, each once.
        own: how many are own.
    """
    ranks = comm.Get_size()
    told = comm.alltoall(_by_rank(tags[:own], tags[:own] % ranks, ranks))
    owner_of = {int(tag): owner for owner, some in enumerate(told) for tag in some.tolist()}
    ghosts = tags[own:]
    asked = comm.alltoall(_by_rank(ghosts, ghosts % ranks, ranks))
    answers = [np.array([owner_of[int(t)] for t in some], np.int64) for some in asked]
    answers = np.concatenate(comm.alltoall(answers))
    owners = np.empty(len(ghosts), np.int64)
    owners[np.argsort(ghosts % ranks, kind="stable")] = answers
    order = np.argsort(owners, kind="stable")
    wanted = comm.alltoall(_by_rank(ghosts, owners, ranks))
    sorted_own = np.argsort(tags[:own], kind="stable")
    arriving = np.concatenate(wanted)
    found = np.searchsorted(tags[:own], arriving, sorter=sorted_own)
    return Exchange(
        own + order,
        np.bincount(owners, minlength=ranks),
        sorted_own[found] if own else np.zeros(0, np.int64),
        np.array([len(some) for some in wanted]),
    )


def _by_rank(values, rank_of, ranks: int) -> list[np.ndarray]:
    order = np.argsort(rank_of, kind="stable")
    return np.split(values[order], np.cumsum(np.bincount(rank_of, minlength=ranks))[:-1])


def add_ghost_forces(
    comm, exchange: Exchange, forces: Float[np.ndarray, "atoms width"], own: int
) -> Float[np.ndarray, "own width"]:
    """Forces on own atoms, with those that other ranks have for them; or other derivatives.

    Args:
        comm: of all ranks.
        exchange: of this rank.
        forces: on own atoms and ghosts.
        own: how many are own.
    """
    sent = np.ascontiguousarray(forces[exchange.send], np.float64)
    width = forces.shape[1]
    received = np.empty((len(exchange.receive), width))
    counts = width * exchange.send_counts, width * exchange.receive_counts
    comm.Alltoallv([sent, counts[0]], [received, counts[1]])
    total = np.array(forces[:own], np.float64)
    np.add.at(total, exchange.receive, received)
    return total
