"""Pictures: every kind can be told from the others."""

import numpy as np

from jles import pictures
from jles.train.log import panels


def test_born_charges_of_many_elements_look_different(monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, "save_figure", lambda figure, path: drawn.append(figure))
    charges = np.random.default_rng(0).normal(size=(30, 3, 3))
    pictures.born_charge_picture("", np.arange(1, 31), charges, charges)
    for axis in drawn[0].axes:
        named = [line for line in axis.lines if not line.get_label().startswith("_")]
        looks = {(line.get_color(), line.get_marker()) for line in named}
        assert len(looks) == len(named) == 30


def test_learning_curves_show_every_trained_label_on_a_legible_scale(monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, "save_figure", lambda figure, path: drawn.append(figure))
    rows = [
        {"epoch": n, "train_forces_rmse": 0.1**n, "train_born_charges_rmse": 0.03 - 0.001 * n}
        for n in range(3)
    ]
    pictures.learning_curve("", rows, panels())
    forces, born = drawn[0].axes
    assert forces.get_ylabel() == "force RMSE (meV/Å)"
    assert forces.get_yscale() == "log"
    assert born.get_ylabel() == "Born charges RMSE (e)"
    assert born.get_yscale() == "linear"
