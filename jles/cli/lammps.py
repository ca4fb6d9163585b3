"""`jles lammps`: runs LAMMPS with a model as its force field, on any number of MPI ranks."""

import sys
import traceback
from argparse import Namespace
from pathlib import Path

from jles.cli.sums import sum_options
from jles.errors import InputError


def run(arguments: Namespace) -> None:
    """Runs the input file; mistakes are reported by the first rank alone."""
    from jles.lammps.start import communicator

    comm = communicator()
    try:
        force_field = run_on(comm, arguments)
    except InputError:
        if comm.Get_rank() == 0:
            raise
        sys.exit(2)
    except Exception:
        if comm.Get_size() == 1:
            raise
        # The other ranks would wait for this one.
        traceback.print_exc()
        comm.Abort(1)
    if comm.Get_rank() == 0:
        print(summary(force_field.tally, comm.Get_size()))


def run_on(comm, arguments: Namespace):
    """Loads the model and runs the input file on the ranks of a communicator."""
    import jles
    from jles.lammps.agreement import on_each
    from jles.lammps.driver import run_lammps

    sums = sum_options(arguments)
    model = on_each(
        comm,
        lambda: jles.load(arguments.model, dtype=arguments.dtype, electrostatics=sums),
    )
    return run_lammps(
        model,
        Path(arguments.input),
        comm=comm,
        types=arguments.types,
        total_charge=arguments.total_charge,
        field=arguments.field,
        born_charges=arguments.born_charges,
        options=arguments.options,
    )


def summary(tally, ranks: int) -> str:
    """Times and bytes of the first rank in one line."""
    from statistics import median

    steps = max(tally.steps, 1)
    model, processor, mpi = (
        1e3 * median(times or [0.0])
        for times in (tally.compute, tally.processor, tally.exchange)
    )
    return (
        f"jles: {tally.steps} evaluations on {ranks} ranks; rank 0: {tally.lists} neighbour "
        f"lists, {tally.traces} compilations; a step {model:.3g} ms in the model "
        f"({processor:.3g} ms of processor time), {mpi:.3g} ms in MPI (medians), "
        f"{tally.sums} bytes of structure factor, {tally.forces // steps} of forces"
    )
