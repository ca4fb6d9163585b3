"""Results and errors on which all ranks of MPI agree."""

import os
import sys

from jles.errors import InputError

MISTAKE = 2
"""Exit status after an error of the input."""


def on_first(comm, function):
    """The result of the first rank on every rank; its `InputError` is raised on all."""
    result = None
    if comm.Get_rank() == 0:
        try:
            result = function()
        except InputError as error:
            result = error
    result = comm.bcast(result)
    if isinstance(result, InputError):
        raise result
    return result


def on_each(comm, function):
    """The result of each rank for itself; an `InputError` on one rank is raised on all."""
    result, message = None, ""
    try:
        result = function()
    except InputError as error:
        message = str(error)
    found = comm.allgather(message)
    if any(found):
        rank, text = next((n, text) for n, text in enumerate(found) if text)
        raise InputError(text if all(found) or rank == 0 else f"rank {rank}: {text}")
    return result


def stop(comm, message: str) -> None:
    """Ends all ranks, each of which calls this, with one line; does not return."""
    from mpi4py import MPI

    if comm.Get_rank() == 0:
        print(f"jles: error: {message}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    MPI.Finalize()
    os._exit(MISTAKE)
