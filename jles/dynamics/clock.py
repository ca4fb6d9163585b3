"""Time and phase of a field after a number of steps, accurate to rounding also in float32.

In float32, step times timestep is too inaccurate for the phase of a fast field after some
nanoseconds. Here steps are counted from the step nearest to the origin of the field, and the
phase is an integer in units of 2**-64 turns. Integer overflow drops whole turns.
"""

from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

from jles.typing import Scalar

_LAST = 2**31 - 1


class Clock(NamedTuple):
    """Counts time and turns from an origin, for one timestep.

    Attributes:
        first: the step nearest to the origin, at least 0.
        timestep: fs.
        offset: time of `first` from the origin, fs.
        turns_at_first: turns from the origin to `first`, without whole ones.
        turns_per_step: without whole ones, in units of 2**-64: upper and lower half.
    """

    first: Int[Array, ""]
    timestep: Scalar
    offset: Scalar
    turns_at_first: Scalar
    turns_per_step: UInt32[Array, " 2"]

    def time(self, step) -> Scalar:
        """Time from the origin, fs."""
        return (step - self.first).astype(self.timestep.dtype) * self.timestep + self.offset

    def turns(self, step) -> Scalar:
        """Turns from the origin, without whole ones: between -1 and 1."""
        count = step - self.first
        part = _fraction(jnp.abs(count).astype(jnp.uint32), self.turns_per_step, self.offset)
        return jnp.sign(count).astype(part.dtype) * part + self.turns_at_first


def clock(origin: float, period: float | None, timestep: float, dtype) -> Clock:
    """The clock of a field. Numbers are read as exact decimals: 0.1 is 1/10.

    Args:
        origin: fs.
        period: of a turn, fs; None if nothing turns.
        timestep: fs.
        dtype: of times and turns.
    """
    origin, timestep = Fraction(str(origin)), Fraction(str(timestep))
    first = min(max(round(origin / timestep), 0), _LAST)
    offset = first * timestep - origin
    frequency = 1 / Fraction(str(period)) if period else Fraction(0)
    turns = offset * frequency
    halves = divmod(round(timestep * frequency * 2**64) % 2**64, 2**32)
    times = (jnp.asarray(float(v), dtype) for v in (timestep, offset, turns - round(turns)))
    return Clock(jnp.int32(first), *times, jnp.asarray(halves, jnp.uint32))


def _fraction(count: UInt32[Array, ""], rate: UInt32[Array, " 2"], like) -> Float[Array, ""]:
    """The product count * rate / 2**64 modulo 1, from -1/2 to 1/2, in the dtype of `like`.

    The product is formed from 32-bit integers. Their overflow takes it modulo 2**64.
    """
    upper, lower = rate
    half, mask = jnp.uint32(16), jnp.uint32(0xFFFF)
    a, b, c, d = count & mask, count >> half, lower & mask, lower >> half
    middle = b * c + (a * c >> half)
    carry = b * d + (middle >> half) + ((middle & mask) + a * d >> half)
    top = jax.lax.bitcast_convert_type(count * upper + carry, jnp.int32)
    return top.astype(like.dtype) * 2.0**-32 + (count * lower).astype(like.dtype) * 2.0**-64
