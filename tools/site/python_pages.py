"""The pages of the Python interface: which modules stand on which page."""

from docstring_math import converted

import jles

_TEXT = {
    "python": (
        "Python",
        "What `import jles` offers, imported on first use. Names link to their modules.",
    ),
    "python-electrostatics": ("Electrostatics", "Lattice sums of arrays, without a model."),
    "python-models": ("Models and predictions", "Potentials, their derivatives, predictions."),
    "python-dynamics": ("Dynamics and analysis", "Runs, jax-md, spectra."),
    "python-data": ("Data and training", "Structures, data sets, trainings, imported models."),
}

MODULES = {
    "python-electrostatics": (
        "jles.electrostatics.lattice_sum",
        "jles.electrostatics.multipoles",
        "jles.electrostatics.plan",
        "jles.electrostatics.interaction",
        "jles.electrostatics.energy_parts",
        "jles.electrostatics.partial_sums",
        "jles.electrostatics.sums.ewald",
        "jles.electrostatics.sums.cluster",
        "jles.electrostatics.response.induction",
        "jles.electrostatics.response.equilibration",
        "jles.electrostatics.response.applied_field",
    ),
    "python-models": (
        "jles.models.config",
        "jles.models.sum_config",
        "jles.models.potential",
        "jles.models.store",
        "jles.models.backbones.features",
        "jles.predict.model",
        "jles.predict.predictor",
        "jles.predict.prediction",
        "jles.predict.committee",
        "jles.predict.augment",
        "jles.predict.export",
        "jles.predict.phonopy_born",
        "jles.quantities.quantity",
        "jles.observables.born_charges",
        "jles.observables.polarization",
        "jles.observables.polarizability",
        "jles.observables.piezoelectricity",
        "jles.observables.screening",
        "jles.observables.stress",
    ),
    "python-dynamics": (
        "jles.jax_md.neighbors",
        "jles.jax_md.functions",
        "jles.jax_md.npt",
        "jles.dynamics.run",
        "jles.dynamics.config",
        "jles.dynamics.fields",
        "jles.dynamics.pairs",
        "jles.dynamics.differentiable",
        "jles.analysis.run",
    ),
    "python-data": (
        "jles.structures.structure",
        "jles.structures.neighbors",
        "jles.structures.batch",
        "jles.data.frames",
        "jles.data.check.run",
        "jles.data.offsets",
        "jles.data.splits",
        "jles.distill.run",
        "jles.distill.config",
        "jles.train.config",
        "jles.train.loop",
        "jles.train.step",
        "jles.train.losses",
        "jles.interop.torch_import",
        "jles.units",
        "jles.errors",
        "jles.step_sizes",
    ),
}


def pages() -> dict[str, str]:
    """Markdown by name of the page."""
    found = {}
    for name, (title, text) in _TEXT.items():
        lines = [f"# {title}\n", f"{text}\n"]
        if name == "python":
            lines += list(_front_door())
        lines += [f"::: {module}\n" for module in MODULES.get(name, ())]
        found[f"reference/{name}.md"] = "\n".join(lines)
    return found


def _front_door():
    yield "| name | what it is |"
    yield "|---|---|"
    for name, module in sorted(jles._LAZY.items()):
        value = getattr(jles, name)
        yield f"| [`jles.{name}`][{module}.{name}] | {_first_line(value)} |"
    yield ""
    yield "::: jles.load\n"


def _first_line(value) -> str:
    return converted((value.__doc__ or "").strip().splitlines()[0])
