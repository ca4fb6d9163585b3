"""Programs lowered for CPU, CUDA and TPU, and what they contain; needs no accelerator."""

import re
from typing import NamedTuple

import jax

PLATFORMS = ("cpu", "cuda", "tpu")

_DOT = re.compile(
    r"stablehlo\.dot_general .*?contracting_dims = \[([\d, ]*)\] x \[[\d, ]*\]"
    r"(?:, precision = \[(\w+), (\w+)\])?.*? : \(tensor<([^>]*)>, tensor<([^>]*)>\)"
)
_CALL = re.compile(r"stablehlo\.custom_call @(\w+)")


class Dot(NamedTuple):
    """One `dot_general`.

    Attributes:
        contracted: lengths of the contracted axes.
        precision: of the two factors, "DEFAULT", "HIGH" or "HIGHEST".
        operands: types of the factors, as in `4x3xf32`.
    """

    contracted: tuple[int, ...]
    precision: tuple[str, str]
    operands: tuple[str, str]

    @property
    def is_exact(self) -> bool:
        """Whether no factor is rounded: full precision, or integers."""
        return self.precision == ("HIGHEST", "HIGHEST") or "f" not in self.operands[0]


class Program(NamedTuple):
    """A lowered program."""

    text: str

    @property
    def dots(self) -> list[Dot]:
        """All products in the text."""
        found = [_dot(match) for match in _DOT.finditer(self.text)]
        assert len(found) == self.text.count("stablehlo.dot_general ")
        return found

    @property
    def rounded(self) -> list[Dot]:
        """Products of which an accelerator rounds the factors."""
        return [dot for dot in self.dots if not dot.is_exact]

    @property
    def convolutions(self) -> int:
        """Number of convolutions, which are rounded like products."""
        return self.text.count("stablehlo.convolution")

    @property
    def loops(self) -> int:
        """Number of while loops."""
        return self.text.count("stablehlo.while")

    @property
    def calls(self) -> set[str]:
        """Names of the library functions it calls."""
        return set(_CALL.findall(self.text))

    @property
    def float64(self) -> list[str]:
        """Lines with an array in float64; numbers of Python are scalars, folded away."""
        return [line.strip() for line in self.text.splitlines() if "xf64>" in line]


def _dot(match) -> Dot:
    axes, first, second, *operands = match.groups()
    shape = operands[0].split("x")[:-1]
    contracted = tuple(int(shape[int(axis)]) for axis in axes.split(",") if axis.strip())
    return Dot(contracted, (first or "DEFAULT", second or "DEFAULT"), tuple(operands))


def lowered(function, *arguments, strict: bool = True) -> Program:
    """A function of arrays, lowered for all platforms at once; it may not call the host.

    Args:
        function: compiled or not.
        arguments: arrays, or their shapes.
        strict: without promotion of types.
    """
    leaves, tree = jax.tree.flatten(arguments)

    def of_leaves(*leaves):
        return jax.tree.leaves(function(*jax.tree.unflatten(tree, leaves)))

    with jax.numpy_dtype_promotion("strict" if strict else "standard"):
        traced = jax.jit(of_leaves).trace(*leaves)
    return Program(traced.lower(lowering_platforms=PLATFORMS).as_text())
