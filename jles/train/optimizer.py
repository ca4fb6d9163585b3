"""The optimizer (optax) and the schedule of its learning rate.

Schedules are evaluated in Python floats: the same rate is logged whatever the precision of a
run.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
import optax

from jles.train.config import OptimizerConfig, Schedule
from jles.train.joined import join, split
from jles.typing import Scalar

_EPSILON = 1e-12
"""Added by Adam to the size of gradients.

The usual 1e-8 is not small beside gradients of a loss in (eV/angstrom)^2 whose forces are
known to a fraction of a meV/angstrom: parameters then nearly stop.
"""

_ITERATION = np.float32((3.4445, -4.7750, 2.0315))
"""Coefficients of Muon's Newton-Schulz iteration (those of optax).

They are float32 in every training: optax stores them in the state.
"""


def build_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Clipping, Adam, AMSGrad or Muon, weight decay; the caller applies the learning rate.

    Weight decay is decoupled. It acts on matrices and tables only, not on biases.
    """
    scale = _SCALES[config.name]()
    steps = [scale if config.clip_update is None else _bounded(scale, config.clip_update)]
    if config.clip_norm is not None:
        steps.insert(0, optax.clip_by_global_norm(config.clip_norm))
    if config.weight_decay:
        steps.append(optax.add_decayed_weights(config.weight_decay, mask=_has_rows))
    return optax.chain(*steps)


def _muon() -> optax.GradientTransformation:
    """Muon (Jordan et al. 2024, github.com/KellerJordan/Muon; optax.contrib) for matrices.

    The update of a matrix is its average gradient with all singular values set to about the
    same number, so that no direction lags behind. It is scaled by 0.2 √max(rows, columns) (Liu
    et al., arXiv 2502.16982). Its root mean square is then 0.2 if the gradient has full rank,
    about that of Adam, so both take similar learning rates. All other parameters follow Adam
    with Nesterov's momentum.
    """
    # With a learning rate of -1 the sign is kept: the caller applies the rate.
    muon = optax.contrib.muon(
        -1.0,
        ns_coeffs=_ITERATION,
        eps=_EPSILON,
        consistent_rms=0.2,
        muon_weight_dimension_numbers=_axes_of_joined,
    )

    def update(gradient, state, params=None):
        joined = None if params is None else join(params)
        # Accelerators would round the factors of the products.
        with jax.default_matmul_precision("highest"):
            updates, state = muon.update(join(gradient), state, joined)
        return split(updates, gradient), state

    return optax.GradientTransformation(lambda params: muon.init(join(params)), update)


def _axes_of_joined(joined):
    """Rows and columns of the joined matrices for optax, None for everything else."""
    axes = optax.contrib.MuonDimensionNumbers(0, 2)
    return jax.tree.map(lambda leaf: None if leaf.ndim == 1 else axes, joined)


_SCALES = {
    "adamw": partial(optax.scale_by_adam, eps=_EPSILON),
    "amsgrad": partial(optax.scale_by_amsgrad, eps=_EPSILON),
    "muon": _muon,
}
"""What turns gradients into updates, by the name in the training file."""


def _bounded(scale: optax.GradientTransformation, bound: float):
    """`scale` with every component of its updates within ±bound, and the same state.

    Adam divides by the root mean square of earlier gradients. A gradient 30 times as large as
    those would move a parameter by 30 learning rates.
    """
    clip = optax.clip(bound)

    def update(gradient, state, params=None):
        updates, state = scale.update(gradient, state, params)
        return clip.update(updates, optax.EmptyState())[0], state

    return optax.GradientTransformation(scale.init, update)


def _has_rows(params):
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def at_epoch(schedule: Schedule, epoch: int) -> float:
    """The value of a schedule at an epoch."""
    if not isinstance(schedule, dict):
        return schedule
    return schedule[max(first for first in schedule if first <= epoch)]


class Plateau(NamedTuple):
    """Reduction of the learning rate when the validation loss stops falling (optax.contrib)."""

    transformation: optax.GradientTransformationExtraArgs

    def init(self):
        """State before the first epoch."""
        return self.transformation.init({})

    def update(self, state, loss: Scalar):
        """State after an epoch with this validation loss."""
        return self.transformation.update({}, state, value=loss)[1]


def build_plateau(config: OptimizerConfig) -> Plateau:
    """The plateau rule of `config`; other schedules do not read its scale."""
    return Plateau(
        optax.contrib.reduce_on_plateau(
            factor=config.factor,
            patience=config.patience,
            rtol=1e-3,
            min_scale=config.min_scale,
        )
    )


def learning_rate(
    config: OptimizerConfig, step: int, epoch: int, epochs: int, plateau_scale: float
) -> float:
    """Learning rate of one step: warm-up times the schedule at this epoch."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "step":
        scale = config.factor ** (epoch // config.step_epochs)
    elif config.schedule == "plateau":
        scale = plateau_scale
    elif config.schedule == "cosine":
        half_wave = 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))
        scale = config.min_scale + (1.0 - config.min_scale) * half_wave
    else:
        scale = 1.0
    return config.learning_rate * warm * scale
