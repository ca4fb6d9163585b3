"""`jles info`: what a model directory holds."""

from argparse import Namespace


def run(arguments: Namespace) -> None:
    """Prints a summary of the model, then its config, origin, metrics and units."""
    import yaml

    from jles.config import to_dict
    from jles.models.cost import TYPICAL_NEIGHBORS, flops_per_atom
    from jles.models.describe import describe
    from jles.models.store import UNITS, read_model

    stored = read_model(arguments.model)
    config = to_dict(stored.config)
    sections = {
        "units": UNITS,
        "backbone": config["backbone"],
        "energy read-out": config["energy"],
        "latent charges": config["charges"] or "none: no long-range part",
        "electrostatics": config["electrostatics"] if config["charges"] else "not used",
        **({"response": config["response"]} if stored.config.responds else {}),
        "element energies (eV)": config["element_energies"] or "none given; taken as 0 eV",
        "training": stored.training or "not recorded",
        "metrics": stored.metrics or "none recorded",
    }
    neighbors = max(1, round(stored.training.get("neighbors", TYPICAL_NEIGHBORS)))
    flops = flops_per_atom(stored.config, neighbors)
    cost = (
        f"{flops / 1e6:.2g} million operations per atom for energy and forces with {neighbors} "
        "neighbours, without the lattice sum"
    )
    details = yaml.safe_dump(sections, sort_keys=False, allow_unicode=True).rstrip()
    summary = f"{describe(stored.config, stored.params)}\n{'cost:':<12}{cost}"
    print(f"{arguments.model}\n{summary}\n\n{details}")
