"""What experiments with molecular dynamics share: a published model, and a run made once."""

from dataclasses import replace
from pathlib import Path

import ase.io

from jles.config import from_dict
from jles.data.sets import published_model
from jles.dynamics.config import MdConfig
from jles.dynamics.run import run_md
from jles.interop.cace_import import import_torch
from jles.models.config import ScreeningConfig
from jles.predict.model import Model


def imported(
    name: str, dtype: str = "float32", screening: ScreeningConfig | None = None
) -> Model:
    """A published model; `screening` makes its latent moments physical ones."""
    config, params = import_torch(published_model(name))
    if screening is not None:
        config = replace(config, screening=screening)
    return Model(config, params, dtype, name)


def stage(model: Model, start, config: dict, out: Path):
    """The last state of a run: read if the run is done, gone on with if it was cut short."""
    final = out / "final.extxyz"
    if not final.is_file():
        cut_short = (out / "checkpoint").is_dir()
        run_md(model, start, from_dict(MdConfig, config, str(out)), out, resume=cut_short)
    return ase.io.read(final)


def lasting(picoseconds: float, timestep: float) -> dict:
    """The keys of a run that say how long it is; the time step in fs."""
    return {"steps": round(1e3 * picoseconds / timestep), "timestep": timestep}


def settled(model, start, length: dict, temperature: float, out: Path, friction=20.0, **more):
    """The last state of a run with a Langevin thermostat, `length` being from `lasting`."""
    ensemble = {"kind": "langevin", "temperature": temperature, "friction": friction}
    return stage(model, start, {**length, "ensemble": ensemble, **more}, out)
