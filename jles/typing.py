"""Array shapes by name. Axis words: structures, atoms, neighbors, kvecs, channels, points."""

from jaxtyping import Array, Bool, Float, Int

Scalar = float | Float[Array, ""]
Positions = Float[Array, "atoms 3"]
Cell = Float[Array, "3 3"]
Charges = Float[Array, " atoms"] | Float[Array, "atoms channels"]
AtomMask = Bool[Array, " atoms"]
Numbers = Int[Array, " atoms"]
