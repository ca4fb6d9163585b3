"""`jles serve`: gives the forces of a model to a program that moves atoms."""

from argparse import Namespace

from jles.cli.sums import sum_options
from jles.errors import InputError


def run(arguments: Namespace) -> None:
    """Connects to the server and serves its requests until it sends EXIT.

    START is evaluated first, so that mistakes are reported and functions compiled before the
    server waits for a result.
    """
    import numpy as np

    import jles
    from jles.cli.model_on_frames import atoms_of, label_keys
    from jles.data.frames import check_elements, read_frames
    from jles.predict.ipi import Evaluation, connect, serve_requests

    address = address_of(arguments)
    sums = sum_options(arguments)
    model = jles.load(arguments.model, dtype=arguments.dtype, electrostatics=sums)
    frame = read_frames(arguments.start, label_keys(model), labels=False)[-1]
    check_elements([frame], model.config.numbers, f"of the model {arguments.model}")
    evaluate = Evaluation(model, atoms_of(model, frame), wanted_extras(arguments))
    try:
        first = evaluate.predict()
    except InputError as error:
        raise InputError(f"{frame.source}: {error}") from None
    if first.acoustic_sum is not None:
        largest = np.abs(first.acoustic_sum).max()
        print(f"Born charges of the start, before the sum rule: sum of {largest:.3g} e at most")
    for note in first.notes:
        print(f"note: {frame.source}, {model.where}: {note}")
    with connect(address) as connection:
        print(f"{address}: connected, {len(evaluate.atoms)} atoms", flush=True)
        serve_requests(connection, evaluate, address)
    print(f"{address}: done, {evaluate.count} configurations")


def address_of(arguments: Namespace):
    """Address of the server from the command line.

    Raises:
        InputError: the port number is invalid, or a host is given with a Unix socket.
    """
    from jles.predict.ipi import Address

    if arguments.unix is not None and arguments.host is not None:
        raise InputError("--host goes with --port; a Unix socket (--unix) is on this machine")
    given = {name: getattr(arguments, name) for name in ("host", "port", "unix")}
    try:
        return Address(**{name: value for name, value in given.items() if value is not None})
    except InputError as error:
        raise InputError(f"--{error}") from None


def wanted_extras(arguments: Namespace) -> tuple[str, ...]:
    """Quantities sent beside energy, forces and virial; Born charges include the dipole."""
    if arguments.born_charges:
        return ("polarization", "born_charges")
    return ("polarization",) if arguments.dipole else ()
