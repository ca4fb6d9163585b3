"""Times and bytes of a rank."""

import time
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager

_REMEMBERED = 1000
"""Steps whose times are kept."""


class Tally:
    """Times and bytes of a rank.

    Attributes:
        steps: evaluations.
        lists: neighbour lists made.
        traces: compilations of the part of the rank.
        compute: seconds in the model, of the last steps; with lists, and with the sums over
            ranks of a self-consistent response or of the equilibration of charges.
        processor: processor time of the same, over all threads, s.
        exchange: seconds in MPI, waiting for other ranks included, of the last steps.
        sums: bytes of structure factor, and of the sum of the charges, that the rank adds to
            those of others in a step.
        forces: bytes of forces on ghosts that it has sent to other ranks in total.
    """

    def __init__(self):
        self.steps = self.lists = self.traces = self.sums = self.forces = 0
        self.compute, self.processor, self.exchange = (
            deque(maxlen=_REMEMBERED) for _ in range(3)
        )

    def begin(self) -> None:
        """Begins a step."""
        self.steps, self.sums = self.steps + 1, 0
        for times in (self.compute, self.processor, self.exchange):
            times.append(0.0)


@contextmanager
def timed(times: deque, clock: Callable[[], float] = time.perf_counter):
    """Adds the time inside a `with` block to the last entry of `times`."""
    start = clock()
    yield
    times[-1] += clock() - start
