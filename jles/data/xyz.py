"""Checks of an XYZ file for damage that the reader of ASE does not report."""

from pathlib import Path

from jles.errors import InputError


def check_xyz(path: Path) -> None:
    """Checks the frames of an (extended) XYZ file by their atom counts.

    ASE stops silently at a blank line between frames, and reads a number that was cut off at
    the end of the file as if it were complete.

    Raises:
        InputError: a count that is no number, a frame with too few lines, frames after a blank
            line, or a last line that was cut off; names the frame and the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; an XYZ file was expected") from None
    ends_properly = lines[-1] == ""
    while lines and not lines[-1].strip():
        lines.pop()
    frame, row = 0, 0
    while row < len(lines):
        where = f"{path}, frame {frame} (line {row + 1})"
        count = _atom_count(lines[row], where, frame)
        first, after = row + 2, row + 2 + count
        if after > len(lines):
            have = max(0, len(lines) - first)
            raise InputError(
                f"{where}: {count} atoms announced, the file ends after {have}: it was cut off"
            )
        if after == len(lines) and not ends_properly and _looks_cut(lines[first:after]):
            raise InputError(
                f"{where}: the last line '{lines[-1].strip()}' looks cut off; "
                "if it is complete, end it with a newline"
            )
        row = after
        # Cell vectors of the ADF dialect follow the atoms.
        while row < len(lines) and lines[row].lstrip().startswith("VEC"):
            row += 1
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


def _looks_cut(atoms: list[str]) -> bool:
    """Whether the last line has fewer words than the others, or a much shorter last word."""
    words = [line.split() for line in atoms]
    *others, last = words
    if not last or any(len(other) > len(last) for other in others):
        return True
    lengths = [len(other[-1]) for other in others if other]
    return len(lengths) >= 2 and min(lengths) >= 6 and len(last[-1]) < min(lengths)
