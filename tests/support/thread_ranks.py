"""Ranks that are threads of one process, with the functions of mpi4py that jles calls."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

_PATIENCE = 120.0


class ThreadComm:
    """A communicator; `slots` and `barrier` are shared by its ranks."""

    def __init__(self, rank, slots, barrier):
        self.rank, self._slots, self._barrier = rank, slots, barrier

    def Get_rank(self):
        return self.rank

    def Get_size(self):
        return len(self._slots)

    def allgather(self, value):
        self._slots[self.rank] = value
        self._barrier.wait(_PATIENCE)
        found = list(self._slots)
        self._barrier.wait(_PATIENCE)
        return found

    def bcast(self, value):
        return self.allgather(value)[0]

    def alltoall(self, values):
        return [row[self.rank] for row in self.allgather(values)]

    def Allreduce(self, own, total):
        total[...] = sum(self.allgather(own.copy()))

    def Alltoallv(self, own, other):
        (sent, counts), (received, expected) = own, other
        pieces = self.alltoall(np.split(sent.ravel(), np.cumsum(counts)[:-1]))
        assert [len(piece) for piece in pieces] == list(expected)
        received[...] = np.concatenate(pieces).reshape(received.shape)


def on_ranks(count, function):
    """`[function(comm) for every rank]`, each in a thread."""
    slots, barrier = [None] * count, threading.Barrier(count)

    def play(rank):
        try:
            return function(ThreadComm(rank, slots, barrier))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(play, range(count)))
