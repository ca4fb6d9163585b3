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

from jles.dynamics.clock import Clock, clock
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
        span: fs; the duration of a ramp or the width of a pulse; otherwise not used.
        frequency: 1/period, 1/fs; 0 if there is none.
        phase: radian.
        clock: of the run, from `start` on; None if the timestep is not known.
        kind: static.
    """

    amplitude: Float[Array, " 3"]
    start: Scalar
    span: Scalar
    frequency: Scalar
    phase: Scalar
    clock: Clock | None
    kind: str = dataclasses.field(metadata={"static": True})

    def __call__(self, time: Scalar) -> Float[Array, " 3"]:
        """The vector at a time in fs; its phase is rounded as the time is."""
        s = time - self.start
        return self._at(s, s * self.frequency)

    def at_step(self, step, time: Scalar) -> Float[Array, " 3"]:
        """The vector after `step` steps; without a clock, that at `time` (fs)."""
        if self.clock is None:
            return self(time)
        return self._at(self.clock.time(step), self.clock.turns(step))

    def _at(self, s, turns):
        return self.amplitude * _SHAPES[self.kind](s, turns, self)


def wave(config: WaveConfig, dtype, timestep: float | None = None) -> Wave:
    """The function of time that a config describes.

    With the timestep (fs) the vectors of `Wave.at_step` are exact to rounding at any step.
    """
    start, period = getattr(config, "start", 0.0), getattr(config, "period", None)
    span = 1.0
    if isinstance(config, Ramp):
        span = config.end - start
    if isinstance(config, Pulse):
        start, span = config.center, config.width
    phase = math.radians(getattr(config, "phase", 0.0))
    amplitude = [FIELD_UNITS[config.unit] * value for value in config.amplitude]
    values = amplitude, start, span, 1.0 / period if period else 0.0, phase
    ticks = clock(start, period, timestep, dtype) if timestep else None
    return Wave(*(jnp.asarray(value, dtype) for value in values), ticks, config.kind)


def _constant(s, turns, wave):
    return jnp.ones_like(s)


def _step(s, turns, wave):
    return jnp.where(s >= 0.0, 1.0, 0.0)


def _ramp(s, turns, wave):
    return jnp.clip(s / wave.span, 0.0, 1.0)


def _sine(s, turns, wave):
    return _step(s, turns, wave) * jnp.sin(_angle(turns) + wave.phase)


def _pulse(s, turns, wave):
    return jnp.exp(-0.5 * (s / wave.span) ** 2) * jnp.cos(_angle(turns) + wave.phase)


def _cycle(s, turns, wave):
    # A triangle wave that rises through zero at s = 0 has its trough a quarter period earlier.
    quarter = turns + 0.25
    triangle = 1.0 - 4.0 * jnp.abs(quarter - jnp.floor(quarter) - 0.5)
    return _step(s, turns, wave) * triangle


def _angle(turns):
    return 2.0 * math.pi * (turns - jnp.round(turns))


_SHAPES = {
    "constant": _constant,
    "step": _step,
    "ramp": _ramp,
    "sine": _sine,
    "pulse": _pulse,
    "cycle": _cycle,
}
