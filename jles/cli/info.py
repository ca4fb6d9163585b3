"""`jles info`: what a model directory holds."""

from argparse import Namespace


def run(arguments: Namespace) -> None:
    """Prints elements, heads, architecture, electrostatics, origin, metrics and units."""
    import yaml

    from jles.config import to_dict
    from jles.models.store import UNITS, flatten, read_model

    stored = read_model(arguments.model)
    config = to_dict(stored.config)
    backbone = stored.config.backbone
    charges = ["charges"] if stored.config.charges else []
    count = sum(array.size for array in flatten(stored.params).values())
    no_energies = "none given: taken as 0 eV"
    sections = {
        "model": str(arguments.model),
        "elements": ", ".join(stored.config.elements),
        "parameters": count,
        "receptive field (angstrom)": (backbone.layers + 1) * backbone.cutoff,
        "heads": ", ".join(["energy", *charges, *stored.config.heads]),
        "units": UNITS,
        "backbone": config["backbone"],
        "energy read-out": config["energy"],
        "latent charges": config["charges"] or "none: no long-range part",
        "electrostatics": config["electrostatics"] if config["charges"] else "not used",
        "element energies (eV)": config["element_energies"] or no_energies,
        "training": stored.training or "not recorded",
        "metrics": stored.metrics or "none recorded",
    }
    print(yaml.safe_dump(sections, sort_keys=False, allow_unicode=True).rstrip())
