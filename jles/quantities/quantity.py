"""The record of a quantity, and what the host knows when it reads the value of one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from jles.quantities.evaluation import Evaluation
from jles.quantities.refusals import Periodic, Rule
from jles.structures.neighbors import has_volume


@dataclass(frozen=True)
class Host:
    """Data of one structure on the host, outside the traced function.

    Attributes:
        config: of the model.
        atoms: `ase.Atoms` as they were given.
        raw: arrays of the traced function by name, padding included.
        moved: dipole removed by wrapping the atoms into the cell, e angstrom.
        field: applied, V/angstrom; None for none.
        total_charge: e.
        sum_rule: whether Born charges are made to obey the acoustic sum rule.
    """

    config: Any
    atoms: Any
    raw: Mapping[str, Any]
    moved: Float[np.ndarray, " 3"]
    field: Float[np.ndarray, " 3"] | None
    total_charge: float
    sum_rule: bool

    @property
    def element_energy(self) -> float:
        """Sum of the element energies, eV."""
        energies = self.config.element_energies
        return sum(energies.get(symbol, 0.0) for symbol in self.atoms.get_chemical_symbols())

    @property
    def wrapping_energy(self) -> float:
        """-E . P of the wrapping, eV: from the wrapped branch to that of the positions."""
        return 0.0 if self.field is None else -float(self.moved @ self.field)


@dataclass(frozen=True)
class Label:
    """The reference values of a quantity, and how predictions are compared with them.

    Attributes:
        name: of the label, in `LabelKeys` and in losses.
        title: in tables and pictures.
        key: in files, for labels without a place in `LabelKeys`; by default the name.
        shown: unit in tables, and the factor from the unit of the quantity to it.
        trained: whether a loss may contain it.
        per_atom: both are divided by the number of atoms.
        modulo_quantum: both are known up to the quantum of polarization of a crystal.
        traceless: the trace of the label is removed.
        by_component: diagonal and off-diagonal elements are reported as well.
        of: what the label is of, traced; by default the quantity.
        of_prediction: the same on the host, of `(Prediction, ase.Atoms)`.
    """

    name: str
    title: str
    key: str = ""
    shown: tuple[str, float] | None = None
    trained: bool = False
    per_atom: bool = False
    modulo_quantum: bool = False
    traceless: bool = False
    by_component: bool = False
    of: Callable[[Evaluation], Any] | None = None
    of_prediction: Callable[[Any, Any], np.ndarray] | None = None


@dataclass(frozen=True)
class Aside:
    """A number that comes with a quantity: its unit, shape and meaning."""

    unit: str
    shape: tuple[int | str, ...]
    meaning: str


@dataclass(frozen=True)
class Quantity:
    """A quantity that a model can predict for a structure.

    Attributes:
        name: in `want`, in results and in the records of a run.
        unit: of every number; angstrom, eV, e, V.
        shape: `"atoms"` first if it is a property of atoms; axes of length 3 are Cartesian,
            named ones are not.
        meaning: in a few words, conventions of sign and index order included.
        owners: which models or structures have it, in words; `rules` decide.
        of: how it is computed: a traced function of an `Evaluation`.
        rules: reasons against it, in this order.
        odd: whether it changes sign with all latent charges.
        per_volume: whether it is divided by the volume of the cell.
        polar: whether it derives from the polarization, which a net charge makes ambiguous.
        responds: whether it derives from the energy in a field.
        output: whether `jles predict` and `jles evaluate` compute it "always", for "periodic"
            structures, or where it is "asked" for.
        option: of the command line where it must be asked for; by default from the name.
        key: in extended XYZ; by default the name.
        result: whether it is a result of ASE's there, not a column of the atoms or a value of
            the frame.
        ase: name among the results of the ASE calculator; by default the name.
        label: of reference values; None if there are none.
        finish: from the value without padding to results by name, on the host; by default the
            value alone.
        asides: what `finish` adds.
        needs: properties of `Evaluation` that `finish` reads in `Host.raw`.
    """

    name: str
    unit: str
    shape: tuple[int | str, ...]
    meaning: str
    of: Callable[[Evaluation], Any]
    rules: tuple[Rule, ...] = ()
    owners: str = "everything"
    odd: bool = False
    per_volume: bool = False
    polar: bool = False
    responds: bool = False
    output: Literal["always", "periodic", "asked"] = "asked"
    option: str = ""
    key: str = ""
    result: bool = False
    ase: str = ""
    label: Label | None = None
    finish: Callable[[Any, Host], dict[str, Any]] | None = None
    asides: Mapping[str, Aside] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    def __post_init__(self):
        for name, default in (
            ("option", "--" + self.name.replace("_", "-")),
            ("key", self.name),
            ("ase", self.name),
        ):
            object.__setattr__(self, name, getattr(self, name) or default)

    @property
    def per_atom(self) -> bool:
        """Whether it belongs to atoms, not to the structure."""
        return self.shape[:1] == ("atoms",)

    def refuse(
        self, config, pbc: Periodic | None = None, in_field: bool = False, cell=None
    ) -> str | None:
        """The reason why a model or structure does not have it; None if it does.

        Args:
            config: a `ModelConfig`.
            pbc: periodic directions of the structure; None asks about the model alone.
            in_field: whether a field is applied.
            cell: rows are lattice vectors, angstrom; None does not ask about it.
        """
        reasons = (rule(config, pbc, in_field) for rule in self.rules)
        reason = next((reason for reason in reasons if reason), None)
        if reason is None and self.per_volume and cell is not None and not has_volume(cell):
            reason = (
                "is per volume, and the cell has none: give the vector of the open direction "
                "the length that the volume shall count"
            )
        return reason and f"'{self.name}' {reason}"

    def value(self, potential, params, structure, field=None):
        """A pure function for `jit` and `vmap`; padding included, without element energies.

        Args:
            potential: a `Potential`.
            params: its parameters.
            structure: one structure that is not refused.
            field: applied, V/angstrom.
        """
        return self.of(Evaluation(potential, params, structure, field, {self.name}))

    def results(self, value, host: Host) -> dict[str, Any]:
        """Results by name as NumPy values: padding removed, `finish` applied."""
        if not isinstance(value, dict):
            value = np.asarray(value, np.float64)
            value = value[: len(host.atoms)] if self.per_atom else value
        return {self.name: value} if self.finish is None else self.finish(value, host)

    def is_output(self, pbc: Periodic) -> bool:
        """Whether the commands compute it without being asked, for such a structure."""
        return self.output == "always" or (self.output == "periodic" and any(pbc))
