"""A uniform field whose components are numbers or variables of LAMMPS."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jles.errors import InputError
from jles.predict.prediction import field_array


class Field:
    """A field in V/angstrom, evaluated when it is called.

    Args:
        lmp: LAMMPS.
        components: three numbers or names of equal-style variables, with or without `v_`.
    """

    def __init__(self, lmp, components: Sequence[str]):
        self._lmp, self._components = lmp, [_component(text) for text in components]

    def __call__(self) -> Float[np.ndarray, " 3"]:
        """The field now.

        Raises:
            InputError: a variable that does not exist or is no number, or a field that is not
                finite or so strong that the unit must be another one.
        """
        return field_array([self._value(part) for part in self._components])

    def _value(self, part: float | str) -> float:
        if not isinstance(part, str):
            return part
        try:
            value = self._lmp.extract_variable(part)
        except Exception as error:
            reason = " ".join(str(error).split())
            raise InputError(f"--field: variable {part}: {reason}") from None
        if not isinstance(value, float):
            raise InputError(
                f"--field: {part} is {value}; name an equal-style variable of the input file"
            )
        return value


def _component(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text.removeprefix("v_")
