"""What do 20 frames with Born charges add to a water model trained on energies and forces?

Run:     python experiments/fine_tuning.py --out results/fine_tuning [--start MODEL]
Needs:   water-rpbe-d3 (JLES_DATA); a water model of electrical_response.py, trained here unless
         --start names one (five minutes); four minutes on one core for the rest.
Writes:  tuned/ (the model), born_before.png, born_after.png and results.json in --out.
Expect:  better Born charges and hardly worse forces, as published for superionic water
         (arXiv 2504.05169); no published number for these frames.
"""

from pathlib import Path

import numpy as np
from common import born_errors, error_of, options, run, to_atoms, trained, write_results
from ladder import settings

from jles.data.frames import read_frames
from jles.data.sets import data_set
from jles.models.config import ScreeningConfig
from jles.pictures import born_charge_picture
from jles.predict.model import load_model

SCREENING = {"epsilon_infinity": 1.78, "positive": "H"}
FILE = "water-rpbe-d3/ef_bec.xyz"


def tuning(start: Path) -> dict:
    """Settings: 20 training frames, 4 to choose the best epoch; the last 20 are for testing."""
    file = data_set(FILE)
    return {
        "data": {"train": f"{file}@0:20", "valid": f"{file}@20:24"},
        "model": {"start_from": str(start), "screening": SCREENING},
        "epochs": 40,
        "batch_size": 1,
        "loss": {"energy": 1.0, "forces": 1.0, "born_charges": 10.0},
        "optimizer": {"learning_rate": 1e-3},
        "validate_every": 5,
        "checkpoint_every": 5,
    }


def score(place: Path, picture: Path, smoke: bool) -> dict:
    """Errors on frames whose Born charges are not used in training."""
    model = load_model(place, screening=ScreeningConfig(**SCREENING))
    # The start model was trained on a random part of all frames, so on energies and forces of
    # some of these.
    frames = read_frames(f"{data_set(FILE)}@50:{51 if smoke else 70}")
    outs = model.predict([to_atoms(f) for f in frames], ("forces", "born_charges"))
    forces = [(f.labels["forces"], o.forces) for f, o in zip(frames, outs, strict=True)]
    born = [
        np.concatenate(part)
        for part in (
            [f.numbers for f in frames],
            [f.labels["born_charges"] for f in frames],
            [o.born_charges for o in outs],
        )
    ]
    born_charge_picture(picture, *born)
    return {"force_rmse": 1e3 * error_of(forces)["rmse"], "born_charges": born_errors(*born)}


def main(chosen):
    out = chosen.out
    start = chosen.start or out / "start"
    if chosen.start is None:
        trained(settings("water", "q"), start, chosen.smoke)
    trained(tuning(start), out / "tuned", chosen.smoke)
    results = {
        "before": score(start, out / "born_before.png", chosen.smoke),
        "after": score(out / "tuned", out / "born_after.png", chosen.smoke),
    }
    write_results(out, results)


if __name__ == "__main__":
    parser = options(__doc__, "results/fine_tuning")
    parser.add_argument("--start", type=Path, help="a water model to start from")
    run(main, parser)
