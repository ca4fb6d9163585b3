"""Checks of an XYZ file for damage that the reader of ASE does not report."""

import re
from io import TextIOWrapper
from pathlib import Path

from jles.errors import InputError

_PBC = re.compile(r"""(?:^|\s)pbc\s*=\s*("[^"]*"|'[^']*'|\[[^]]*\]|\{[^}]*\}|\S+)""")
_FLAGS = {"t", "f", "true", "false", "1", "0"}


def check_xyz(path: Path) -> None:
    """Checks the frames of an (extended) XYZ file, compressed or not, by their atom counts.

    ASE stops silently at a blank line between frames, reads a number that was cut off at the
    end of the file as if it were complete, and takes any word in `pbc` for true.

    Raises:
        InputError: a count that is no number, a frame with too few lines, frames after a blank
            line, a `pbc` that is not three times T or F, or a last line that was cut off; names
            the frame and the line.
    """
    from ase.io.formats import open_with_compression

    try:
        with (
            open_with_compression(str(path), "rb") as raw,
            TextIOWrapper(raw, encoding="utf-8", newline="\n") as file,
        ):
            _check_frames(_Lines(file), path)
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; an XYZ file was expected") from None


class _Lines:
    """Lines of a file one by one, so that the file may be larger than the memory.

    Attributes:
        number: of the next line, from 1.
        next: the next line; None at the end.
        ended: whether the last line that was read ends with a newline.
    """

    def __init__(self, file):
        self._file, self.number, self.ended = file, 0, True
        self.next: str | None = None
        self.advance()

    def advance(self) -> str | None:
        """Returns the next line and moves on."""
        line, following = self.next, self._file.readline()
        self.number += 1
        self.next = following.rstrip("\n") if following else None
        if following:
            self.ended = following.endswith("\n")
        return line

    def blank_to_the_end(self) -> bool:
        """True if only blank lines are left, which are then read."""
        while self.next is not None and not self.next.strip():
            self.advance()
        return self.next is None


def _check_frames(lines: _Lines, path: Path) -> None:
    frame = 0
    while True:
        where = f"{path}, frame {frame} (line {lines.number})"
        first = lines.next
        if lines.blank_to_the_end():
            return
        # A blank line before other lines is an error of `_atom_count`.
        count = _atom_count(first, where, frame)
        lines.advance()
        _check_pbc(lines.advance(), where)
        atoms = []
        while len(atoms) < count and lines.next is not None:
            atoms.append(lines.advance())
        while atoms and lines.next is None and not atoms[-1].strip():
            atoms.pop()
        if len(atoms) < count:
            raise InputError(
                f"{where}: {count} atoms announced, the file ends after {len(atoms)}: it was "
                "cut off"
            )
        if lines.next is None and not lines.ended and _looks_cut(atoms):
            raise InputError(
                f"{where}: the last line '{atoms[-1].strip()}' looks cut off; "
                "if it is complete, end it with a newline"
            )
        # Cell vectors of the ADF dialect follow the atoms.
        while lines.next is not None and lines.next.lstrip().startswith("VEC"):
            lines.advance()
        frame += 1


def _atom_count(line: str, where: str, frame: int) -> int:
    if not line.strip():
        raise InputError(f"{where}: blank line between frames; remove it, or frames are lost")
    try:
        count = int(line)
    except ValueError:
        shown = line.strip()[:40]
        hint = f"; is the count of frame {frame - 1} right?" if frame else ""
        raise InputError(
            f"{where}: expected a number of atoms, found '{shown}'{hint}"
        ) from None
    if count < 1:
        raise InputError(f"{where}: {count} atoms; a frame needs at least one")
    return count


def _check_pbc(comment: str | None, where: str) -> None:
    found = _PBC.search(comment or "")
    if found is None:
        return
    words = re.findall(r"[^\s,;\[\]{}\"']+", found[1])
    # One word holds for all directions.
    if len(words) not in {1, 3} or not _FLAGS.issuperset(word.lower() for word in words):
        raise InputError(f"{where}: pbc is {found[1]}; give T or F three times, as in 'T T F'")


def _looks_cut(atoms: list[str]) -> bool:
    """True if the last line has fewer words than the others, or a much shorter last word."""
    words = [line.split() for line in atoms]
    *others, last = words
    if not last or any(len(other) > len(last) for other in others):
        return True
    lengths = [len(other[-1]) for other in others if other]
    return len(lengths) >= 2 and min(lengths) >= 6 and len(last[-1]) < min(lengths)
