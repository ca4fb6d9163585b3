"""Mean and standard deviation of what the members of a committee say."""

from dataclasses import fields
from typing import NamedTuple

import jax
import numpy as np

from jles.predict.prediction import Prediction


class CommitteePrediction(NamedTuple):
    """What a committee says of one structure.

    Attributes:
        mean: over the members, quantity by quantity; the notes of all of them.
        spread: standard deviation over the members with n - 1 below the sum, number by number, in
            the units of the quantity; zero of a committee of one; without notes.
        members: each for itself, with the sign of the first, see `Committee`.
    """

    mean: Prediction
    spread: Prediction
    members: tuple[Prediction, ...]


def mean_and_spread(members: list):
    """Of nested numbers and arrays of the same kind; what is None stays None."""

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
    names = [spec.name for spec in fields(Prediction) if spec.name != "notes"]
    mean, spread = mean_and_spread(
        [{name: getattr(member, name) for name in names} for member in members]
    )
    notes = dict.fromkeys(note for member in members for note in member.notes)
    return CommitteePrediction(
        Prediction(**mean, notes=tuple(notes)), Prediction(**spread), tuple(members)
    )
