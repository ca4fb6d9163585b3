"""Models and boxes that cannot be evaluated in parts."""

import math
from collections.abc import Sequence

from jles.domains.domain import sees_more
from jles.errors import InputError
from jles.models.config import ModelConfig


def check_model(config: ModelConfig, where: str) -> None:
    """Refuses models whose atoms see more than their surroundings.

    Args:
        config: of the model.
        where: its name in errors.

    Raises:
        InputError: names the key of the model's configuration.
    """
    keys = sees_more(config)
    if config.responds and config.response.conserve_charge:
        keys.append("response.conserve_charge")
    for key in keys:
        raise InputError(
            f"{where}: {key} cannot be divided among MPI ranks yet; jles md or jles serve run "
            "such a model"
        )


def check_coupling(config: ModelConfig, where: str, field: bool, born_charges: int) -> None:
    """Refuses fields and Born charges of models that do not have them in parts.

    Args:
        config: of the model.
        where: its name in errors.
        field: whether a field is applied.
        born_charges: steps between computations of Born charges; 0 for never.

    Raises:
        InputError: names the option, and the key of the model's configuration.
    """
    if born_charges < 0:
        raise InputError(f"--born-charges {born_charges}: must be a number of steps")
    option = "--born-charges" if born_charges else "--field" if field else None
    if option is None:
        return
    if config.charges is None:
        raise InputError(f"{where}: {option} needs a model with latent charges")
    if config.charges.kind == "equilibrated":
        raise InputError(
            f"{where}: {option} with charges.kind 'equilibrated': charge flows through a "
            "crystal as through a metal, there is no polarization"
        )
    if config.charge_softness is not None:
        raise InputError(
            f"{where}: {option} with charge_softness cannot be divided among MPI ranks; "
            "use jles md"
        )
    if born_charges and config.polarizability is not None:
        raise InputError(
            f"{where}: --born-charges with polarizability cannot be divided among MPI ranks "
            "yet; use jles md or jles predict"
        )


def check_total_charge(config: ModelConfig, where: str, charge: float, couples: bool) -> None:
    """Refuses a total charge that would have no effect, or in a field.

    Args:
        config: of the model.
        where: its name in errors.
        charge: of the box, e.
        couples: whether there is a field, or Born charges are computed.

    Raises:
        InputError: names the option.
    """
    if not math.isfinite(charge):
        raise InputError(f"--total-charge {charge:g}: must be a finite number, in e")
    if charge and not config.sees_charge:
        raise InputError(
            f"--total-charge {charge:g}: {where} does not see the total charge "
            "(charges.total is free)"
        )
    if charge and couples:
        raise InputError(
            f"--total-charge {charge:g} with --field or --born-charges: forces of a field obey "
            "the sum rule of a neutral box here; use jles md"
        )


def check_options(options: Sequence[str]) -> None:
    """Refuses options of LAMMPS that divide the ranks among several systems.

    Raises:
        InputError: names the option.
    """
    for option in options:
        if option.replace("--", "-") in ("-p", "-partition", "-mpicolor"):
            raise InputError(
                f"--options {option}: all ranks compute one system; start jles lammps once for "
                "each system"
            )


def check_boundary(config: ModelConfig, periodic) -> None:
    """Refuses wires and clusters where there is a lattice sum.

    Args:
        config: of the model.
        periodic: of each direction of the box.

    Raises:
        InputError: names the boundary.
    """
    if config.charges is not None and sum(map(bool, periodic)) < 2:
        letters = " ".join("p" if p else "f" for p in periodic)
        raise InputError(
            f"boundary {letters}: a model with latent charges needs two or three periodic "
            "directions in LAMMPS; jles md runs clusters"
        )
