"""Pictures: every kind can be told from the others."""

import numpy as np

from jles import pictures


def test_born_charges_of_many_elements_look_different(monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, "save_figure", lambda figure, path: drawn.append(figure))
    charges = np.random.default_rng(0).normal(size=(30, 3, 3))
    pictures.born_charge_picture("", np.arange(1, 31), charges, charges)
    for axis in drawn[0].axes:
        named = [line for line in axis.lines if not line.get_label().startswith("_")]
        looks = {(line.get_color(), line.get_marker()) for line in named}
        assert len(looks) == len(named) == 30
