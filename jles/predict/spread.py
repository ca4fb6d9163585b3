"""Mean and standard deviation of the predictions of a committee."""

from typing import NamedTuple

import jax
import numpy as np

from jles.predict.prediction import Prediction


class CommitteePrediction(NamedTuple):
    """The predictions of a committee for one structure.

    Attributes:
        mean: over the members, quantity by quantity; the notes of all of them.
        spread: standard deviation over the members with n - 1 in the denominator, number by
            number, in the units of the quantity; zero for a committee of one; without notes.
        members: of each member, with the sign of the first, see `Committee`.
    """

    mean: Prediction
    spread: Prediction
    members: tuple[Prediction, ...]


def mean_and_spread(members: list):
    """Mean and standard deviation of nested numbers and arrays of the same structure."""

    def mean(first, *others):
        return first + np.mean([value - first for value in (first, *others)], axis=0)

    def spread(first, *others):
        if not others:
            return np.zeros_like(first)[()]
        # Differences first: energies are large, and members that agree have exactly none.
        return np.std([value - first for value in (first, *others)], axis=0, ddof=1)

    return jax.tree.map(mean, *members), jax.tree.map(spread, *members)


def summarize(members: list[Prediction]) -> CommitteePrediction:
    """Mean and spread of predictions for one structure."""
    mean, spread = mean_and_spread([member.values for member in members])
    notes = dict.fromkeys(note for member in members for note in member.notes)
    return CommitteePrediction(
        Prediction(tuple(notes), **mean), Prediction(**spread), tuple(members)
    )
