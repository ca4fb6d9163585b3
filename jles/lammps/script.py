"""An input file of LAMMPS, divided where jles becomes its force field.

LAMMPS reads both parts itself, so variables, loops and `jump SELF` work as usual.
"""

import re
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from jles.errors import InputError

FIX = "jles"
"""The `fix external` that calls jles."""

CHARGES = "latent_charge"
"""Per-atom property with the latent charges: `d_latent_charge` in dumps."""

BORN_CHARGES = "born_charge"
"""Per-atom property with nine columns: `d2_born_charge[1]` to `[9]` in dumps."""

_CURRENT = "jles_current"

_HEADER = 100
"""Lines of a data file in which its header ends."""

_MAKES_BOX = {"read_data", "read_restart", "create_box"}
_SETTINGS = {
    "angle_coeff",
    "angle_style",
    "atom_modify",
    "atom_style",
    "balance",
    "bond_coeff",
    "bond_style",
    "boundary",
    "box",
    "change_box",
    "comm_modify",
    "comm_style",
    "create_atoms",
    "create_bonds",
    "delete_atoms",
    "delete_bonds",
    "dielectric",
    "dihedral_coeff",
    "dihedral_style",
    "dimension",
    "displace_atoms",
    "echo",
    "group",
    "improper_coeff",
    "improper_style",
    "info",
    "kspace_modify",
    "kspace_style",
    "labelmap",
    "lattice",
    "log",
    "mass",
    "min_modify",
    "min_style",
    "molecule",
    "neigh_modify",
    "neighbor",
    "newton",
    "package",
    "pair_coeff",
    "pair_modify",
    "pair_style",
    "print",
    "processors",
    "region",
    "replicate",
    "reset_atoms",
    "reset_timestep",
    "run_style",
    "set",
    "shell",
    "special_bonds",
    "suffix",
    "thermo",
    "thermo_modify",
    "timer",
    "timestep",
    "units",
    "variable",
    "velocity",
    "write_data",
    "write_restart",
}
"""Commands that neither run nor refer to what jles defines. Any other one may do so."""

_RUNS = {
    "dynamical_matrix",
    "if",
    "include",
    "jump",
    "mdi",
    "minimize",
    "next",
    "python",
    "rerun",
    "run",
    "third_order",
}
"""Commands that may begin a run."""

# A style in a variable is left to the check at the end of the run.
_ANOTHER_STYLE = re.compile(r"\brun_style\s+(?!\$|verlet(\s|$|[\"']))")


class Script(NamedTuple):
    """Lines of an input file.

    Attributes:
        before: until the box exists and the first command needs the forces.
        after: the rest.
        sets_ghosts: whether `before` has a `comm_modify cutoff` of its own; a later one
            replaces that of jles.
    """

    before: list[str]
    after: list[str]
    sets_ghosts: bool


def read_script(path: Path) -> list[str]:
    """Lines of an input file, with those of files it includes.

    Raises:
        InputError: a file that cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise InputError(f"{path}: {reason}") from None
    result = []
    for line, words in _commands(lines):
        # A name with a variable is left to LAMMPS.
        if words[:1] == ["include"] and len(words) == 2 and "$" not in words[1]:
            result += read_script(Path(words[1].strip("\"'")))
        else:
            result.append(line)
    return result


def divide(lines: list[str], where: str) -> Script:
    """Divides an input file before the first command that needs jles.

    Args:
        lines: of the file.
        where: its name, for errors.

    Raises:
        InputError: no box is made; or a command that removes jles from the simulation (`clear`)
            or from the steps (`run_style respa`).
    """
    has_box, at, sets_ghosts = False, None, False
    for number, (line, words) in enumerate(_commands(lines)):
        name = words[0] if words else ""
        if name == "clear":
            raise InputError(f"{where}: line {number + 1}: clear; simulate one system per file")
        if name in ("run_style", "if") and _ANOTHER_STYLE.search(line.split("#")[0]):
            raise InputError(
                f"{where}: line {number + 1}: a run_style other than verlet does not evaluate "
                "the model at every step"
            )
        if has_box and at is None and words and name not in _SETTINGS | _MAKES_BOX:
            at = number
        has_box |= name in _MAKES_BOX
        sets_ghosts |= at is None and name == "comm_modify" and "cutoff" in words
    if at is None:
        what = "run or minimize" if has_box else "read_data, read_restart or create_box"
        raise InputError(f"{where}: has no {what}")
    return Script(lines[:at], lines[at:], sets_ghosts)


def check_energies(lines: list[str], where: str, field: bool) -> None:
    """Refuses energies of atoms in a field, whose sum would not be the enthalpy.

    Args:
        lines: of an input file.
        where: its name, for errors.
        field: whether a field is applied.

    Raises:
        InputError: names the line.
    """
    for number, (_, words) in enumerate(_commands(lines), 1):
        if field and words[:1] == ["compute"] and "pe/atom" in words:
            raise InputError(
                f"{where}: line {number}: compute pe/atom with --field; the energy of a field "
                "is not divided among atoms"
            )


def check_axes(lines: list[str], where: str) -> None:
    """Refuses a general triclinic box, in which LAMMPS computes along rotated axes.

    Args:
        lines: of an input file that uses a field or Born charges.
        where: its name, for errors.

    Raises:
        InputError: names the line.
    """
    for number, (line, words) in enumerate(_commands(lines), 1):
        reads = words[:1] == ["read_data"] and len(words) > 1
        if "triclinic/general" in line.split("#")[0] or (reads and _has_edges(words[1])):
            raise rotated_box_error(where, number)


def rotated_box_error(where: str, number: int) -> InputError:
    """The error for a line that makes a general triclinic box."""
    return InputError(
        f"{where}: line {number}: --field or --born-charges in a general triclinic box, which "
        "LAMMPS rotates; write the box with xlo xhi and xy xz yz"
    )


def restart_of(lines: list[str]) -> tuple[int, str] | None:
    """The line of the first `read_restart` and its arguments; None without one.

    Arguments with variables or on several lines count as none.
    """
    for number, (line, words) in enumerate(_commands(lines), 1):
        if words[:1] == ["read_restart"] and "$" not in line and "&" not in line:
            return number, " ".join(words[1:])
    return None


def _has_edges(name: str) -> bool:
    """Whether a data file has edge vectors; False for a file that cannot be read here."""
    try:
        with Path(name).open(encoding="utf-8") as stream:
            return any(line.split()[3:4] == ["avec"] for line in islice(stream, _HEADER))
    except (OSError, UnicodeDecodeError):
        return False


def commands_of_jles(charges: bool, ghosts: float | None, born_charges: bool = False) -> str:
    """Commands between the two parts.

    Args:
        charges: whether the model has latent charges.
        ghosts: `comm_modify cutoff`, angstrom; None to leave it.
        born_charges: whether Born charges are computed; the current follows from them.
    """
    lines = [
        f"fix {FIX} all external pf/callback 1 1",
        f"fix_modify {FIX} energy yes virial yes",
    ]
    if charges:
        # A file of write_data with columns of jles could only be read with extra keywords.
        lines.append(f"fix {FIX}_charges all property/atom d_{CHARGES} writedata no")
    if born_charges:
        lines.append(f"fix {FIX}_born all property/atom d2_{BORN_CHARGES} 9 writedata no")
        for n, name in enumerate("xyz"):
            terms = [f"d2_{BORN_CHARGES}[{3 * n + m}]*v{to}" for m, to in enumerate("xyz", 1)]
            lines.append(f"variable {_CURRENT}_{name} atom {'+'.join(terms)}")
        names = " ".join(f"v_{_CURRENT}_{name}" for name in "xyz")
        lines.append(f"compute {_CURRENT} all reduce sum {names}")
    if ghosts is not None:
        lines.append(f"comm_modify cutoff {ghosts:.9g}")
    return "\n".join(lines)


def with_reports(lines: list[str], file: str) -> list[str]:
    """The lines with a report on communication, into `file`, before every run.

    There is one after every `comm_modify` too, for runs in commands that LAMMPS makes of text.
    """
    result, changed = [], False
    for line, words in _commands(lines):
        if words and (changed or words[0] in _RUNS):
            result.append(f"info communication out overwrite {file}")
            changed = False
        changed |= words[:1] == ["comm_modify"]
        result.append(line)
    return result


def ghost_cutoff(report: str) -> float | None:
    """The cutoff of ghost atoms in a report of `info communication`; None if there is none."""
    for line in report.splitlines():
        name, _, value = line.partition("=")
        if name.strip().lower() == "communication cutoff":
            return float(value.split()[0])
    return None


def skin_of(lines: list[str]) -> float:
    """The skin of `neighbor`, angstrom; that of LAMMPS where it is not set or a variable."""
    skin = 2.0
    for _, words in _commands(lines):
        if words[:1] == ["neighbor"] and len(words) > 1:
            try:
                skin = float(words[1])
            except ValueError:
                continue
    return skin


def _commands(lines: list[str]):
    """Each line with the words of the command that begins there, none for other lines."""
    continued = quoted = False
    for line in lines:
        words = [] if continued or quoted else line.split("#")[0].split()
        yield line, words
        quoted ^= line.count('"""') % 2 == 1
        continued = line.rstrip().endswith("&")
