"""Errors of a model when an accelerator rounds the factors of its matrix products.

Run:     python experiments/accelerator_precision.py --out results/accelerator_precision
Needs:   pbtio3_phase_4.pth, water_v1.pth and start_water_64.xyz (published models); five
         minutes on one core.
Writes:  results.json in --out.
Expect:  positions, cells and lattice sums are never rounded, so the vectors between neighbours
         are those of float32 whatever `model.precision` is. With `highest`, the default, forces
         have the digits of float32. With `default` the products of the network are rounded: to
         10 bits on NVIDIA (TF32), to 7 on TPU (bfloat16).

The rounding is emulated on a CPU: both factors of every product below `HIGHEST` are rounded,
and sums are exact to float32, as on the machines themselves.
"""

import ase.io
import jax
import numpy as np
from common import imported, options, run, write_results
from jax import lax
from jax._src.lax.lax import _dot_general_lower
from jax.interpreters import mlir
from lead_titanate import tetragonal

from jles.data.sets import published_model
from jles.predict.model import Model
from jles.structures.structure import neighbor_vectors

BITS = {"float32": None, "tf32": 10, "bfloat16": 7}
"""Bits kept of the factors of a product; None for all."""

CASES = (
    ("highest", "float32"),
    ("highest", "bfloat16"),
    ("default", "tf32"),
    ("default", "bfloat16"),
)
HIGHEST = (lax.Precision.HIGHEST, lax.Precision.HIGHEST)
emulated = {"bits": None}


def _product(context, *factors, precision, **how):
    """Lowers a product; unless it is HIGHEST, its factors are rounded."""
    if emulated["bits"] is not None and precision != HIGHEST:
        kinds = context.avals_in
        factors = [_rounded(context, *pair) for pair in zip(factors, kinds, strict=True)]
    return _dot_general_lower(context, *factors, precision=precision, platform="cpu", **how)


def _rounded(context, factor, kind):
    bits = emulated["bits"]
    lower = mlir.lower_fun(lambda x: lax.reduce_precision(x, 8, bits), multiple_results=False)
    (rounded,) = lower(context.replace(avals_in=[kind], avals_out=[kind]), factor)
    return rounded


mlir.register_lowering(lax.dot_general_p, _product, platform="cpu")


def evaluated(model: Model, atoms, bits: int | None) -> dict[str, np.ndarray]:
    """What a model predicts where products keep `bits` bits."""
    emulated["bits"] = bits
    jax.clear_caches()
    with jax.enable_x64(model.dtype == "float64"):
        vectors = jax.jit(neighbor_vectors)(model.structure(atoms))
    alone = model.predict(atoms, ("energy", "forces"))
    strained = model.predict(atoms, ("energy", "forces", "stress"))
    born = model.predict(atoms, ("born_charges",)).born_charges
    return {
        "vectors": np.asarray(vectors),
        "energy": alone.energy,
        "forces": alone.forces,
        "forces with stress": strained.forces,
        "stress": strained.stress,
        "Born charges": born,
    }


def deviation(value, reference) -> float:
    """Root mean square error over the root mean square of the reference."""
    return float(np.sqrt(np.mean((value - reference) ** 2) / np.mean(reference**2)))


def errors(model: Model, atoms) -> dict[str, dict[str, float]]:
    """Errors for every format and `precision`.

    Vectors are in milliangstrom, largest error; energies in meV/atom; the rest is relative.
    """
    exact = Model(model.config, model.params, "float64", model.where)
    reference = evaluated(exact, atoms, None)
    found = {}
    for precision, format in CASES:
        config = model.config.replace(precision=precision)
        one = Model(config, model.params, "float32", model.where)
        values = evaluated(one, atoms, BITS[format])
        row = {key: deviation(values[key], reference[key]) for key in list(values)[2:]}
        moved = 1e3 * np.abs(values["vectors"] - reference["vectors"]).max()
        shift = 1e3 * abs(values["energy"] - reference["energy"]) / len(atoms)
        found[f"{precision}, {format}"] = {
            "vectors": float(moved),
            "energy": float(shift),
        } | row
    return found


def main(chosen):
    crystal = tetragonal() * ((2, 2, 1) if chosen.smoke else (5, 5, 1))
    crystal.rattle(0.05, seed=1)
    cases = {"pbtio3_phase_4": crystal}
    if not chosen.smoke:
        cases["water_v1"] = ase.io.read(published_model("start_water_64.xyz"))
    results = {}
    for name, atoms in cases.items():
        model = imported(f"{name}.pth")
        results[f"{name}, {len(atoms)} atoms"] = errors(model, atoms)
    write_results(chosen.out, results)


if __name__ == "__main__":
    run(main, options(__doc__, "results/accelerator_precision"))
