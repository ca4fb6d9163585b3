"""Configuration of the lattice sum of a model."""

import math
from typing import Annotated, Literal

from msgspec import Meta

from jles.config import Config, count, positive
from jles.sum_method import SumMethod


class ElectrostaticsConfig(Config):
    """The lattice sum that belongs to the model: it is trained with its truncation.

    `method` selects the algorithm: "direct" sums over wave vectors, "mesh" uses a particle mesh
    whose forces have the relative error `accuracy`, and "auto" takes the cheaper one for the
    size of every structure. Two keys reproduce published models: `pair_offset`, where cluster
    sums have 1/(r + 1e-6), and `self_terms`, where the sums of a crystal leave out the self
    energy of n charges for each atom n times.
    """

    sigma: positive(100.0, "angstrom") = 1.0
    k_max: positive(100.0, "1/angstrom") = math.pi
    cutoff: Literal["smooth", "sharp"] = "smooth"
    remove_self: bool = True
    self_terms: count(1024) = 1
    pair_offset: Annotated[float, Meta(ge=0.0, le=1.0, description="angstrom")] = 0.0
    method: SumMethod = "auto"
    accuracy: Annotated[float, Meta(ge=1e-10, lt=0.1)] = 1e-4
