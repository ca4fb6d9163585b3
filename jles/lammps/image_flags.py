"""Image flags: the number of times LAMMPS has wrapped an atom around the box."""

import numpy as np
from jaxtyping import Int


def image_flags(packed: Int[np.ndarray, " atoms"]) -> Int[np.ndarray, "atoms 3"]:
    """Boxes between an atom and its unwrapped place, in each direction.

    Args:
        packed: as LAMMPS stores them, three numbers in one: of 10 bits in 32, of 21 bits in 64.
    """
    bits = 10 if packed.dtype.itemsize == 4 else 21
    one = (1 << bits) - 1
    wide = packed.astype(np.int64)
    parts = wide & one, (wide >> bits) & one, wide >> (2 * bits)
    return np.stack(parts, axis=-1) - (1 << (bits - 1))
