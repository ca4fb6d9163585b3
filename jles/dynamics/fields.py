r"""Applied fields and displacements as functions of time.

With amplitude A, times in fs and :math:`s = t - \text{start}`:

- constant: A
- step: 0 before start, then A
- ramp: 0 before start, A after end, linear in between
- sine: 0 before start, then :math:`A\sin(2\pi s/\text{period} + \text{phase})`
- pulse: :math:`A\exp[-(t-\text{center})^2/(2\,\text{width}^2)]`; with a period, times
  :math:`\cos(2\pi(t-\text{center})/\text{period} + \text{phase})`
- cycle: 0 before start, then a triangle wave 0, A, 0, -A, 0 of the given period
"""

import dataclasses
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.dynamics.config import Pulse, Ramp, WaveConfig
from jles.typing import Scalar
from jles.units import FIELD_UNITS


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Wave:
    """A vector that depends on time. Everything but the kind may be traced.

    Attributes:
        amplitude: V/angstrom.
        start: fs; the center of a pulse.
        span: fs; the duration of a ramp, the width of a pulse, otherwise the period.
        rate: angular frequency of the carrier of a pulse, 1/fs; 0 if it has none.
        phase: radian.
        kind: static.
    """

    amplitude: Float[Array, " 3"]
    start: Scalar
    span: Scalar
    rate: Scalar
    phase: Scalar
    kind: str = dataclasses.field(metadata={"static": True})

    def __call__(self, time: Scalar) -> Float[Array, " 3"]:
        """The vector at a time in fs."""
        return self.amplitude * _SHAPES[self.kind](time - self.start, self)


def wave(config: WaveConfig, dtype) -> Wave:
    """The function of time that a config describes."""
    start, span, rate = getattr(config, "start", 0.0), getattr(config, "period", 1.0), 0.0
    if isinstance(config, Ramp):
        span = config.end - start
    if isinstance(config, Pulse):
        start, span = config.center, config.width
        rate = 2.0 * math.pi / config.period if config.period else 0.0
    phase = math.radians(getattr(config, "phase", 0.0))
    amplitude = [FIELD_UNITS[config.unit] * value for value in config.amplitude]
    arrays = (jnp.asarray(value, dtype) for value in (amplitude, start, span, rate, phase))
    return Wave(*arrays, config.kind)


def _constant(s, wave):
    return jnp.ones_like(s)


def _step(s, wave):
    return jnp.where(s >= 0.0, 1.0, 0.0)


def _ramp(s, wave):
    return jnp.clip(s / wave.span, 0.0, 1.0)


def _sine(s, wave):
    turns = s / wave.span
    return _step(s, wave) * jnp.sin(2.0 * math.pi * (turns - jnp.floor(turns)) + wave.phase)


def _pulse(s, wave):
    return jnp.exp(-0.5 * (s / wave.span) ** 2) * jnp.cos(wave.rate * s + wave.phase)


def _cycle(s, wave):
    turns = s / wave.span
    # A triangle wave that rises through zero at s = 0 has its trough a quarter period earlier.
    quarter = turns + 0.25
    return _step(s, wave) * (1.0 - 4.0 * jnp.abs(quarter - jnp.floor(quarter) - 0.5))


_SHAPES = {
    "constant": _constant,
    "step": _step,
    "ramp": _ramp,
    "sine": _sine,
    "pulse": _pulse,
    "cycle": _cycle,
}
