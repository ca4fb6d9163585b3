"""A client of i-PI: the server moves the atoms, a model returns energy, forces and virial.

The protocol is that of Ceriotti, More and Manolopoulos, Comput. Phys. Commun. 185, 1019 (2014):
messages of twelve characters, numbers in atomic units, packed by `ase.calculators.socketio`.
The server asks STATUS, sends a configuration (POSDATA), asks for the results (GETFORCE), and
sends EXIT when it is done. Usage: docs/ipi.md.
"""

import json
import socket
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from ase.calculators.socketio import IPIProtocol, actualunixsocketname
from ase.units import Bohr

from jles.errors import InputError, naming
from jles.predict.model import Model
from jles.predict.prediction import Prediction
from jles.structures.neighbors import has_volume

DEFAULT_PORT = 65535
"""Default of i-PI."""

EXTRAS = ("polarization", "born_charges")
"""Quantities that can be sent with energy, forces and virial."""


@dataclass(frozen=True)
class Address:
    """Address of a server.

    Attributes:
        host: name or IP address.
        port: TCP port.
        unix: a Unix socket instead of host and port: the server's `address`, which i-PI appends
            to `/tmp/ipi_`, or a path, which contains a slash.
    """

    host: str = "localhost"
    port: int = DEFAULT_PORT
    unix: str | None = None

    def __post_init__(self):
        if not 1 <= self.port <= 65535:
            raise InputError(f"port must be between 1 and 65535, got {self.port}")

    def __str__(self):
        return f"{self.host}:{self.port}" if self.unix is None else self.path

    @property
    def path(self) -> str:
        """Of the Unix socket."""
        return self.unix if "/" in self.unix else actualunixsocketname(self.unix)


def connect(address: Address) -> socket.socket:
    """Connects to the server.

    Raises:
        InputError: no server at the address.
    """
    try:
        if address.unix is None:
            connection = socket.create_connection((address.host, address.port))
            # Replies are many small messages; none must wait to be sent with the next.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(address.path)
        except OSError:
            connection.close()
            raise
    except OSError as error:
        raise InputError(
            f"no i-PI server at {address} ({error.strerror or error}); start it first, with "
            "this address in its <ffsocket>"
        ) from None
    return connection


class Evaluation:
    """Energy, forces, virial and extras of the configurations that a server sends.

    Arrays are padded to the sizes of earlier structures if they fit, so the steps of a run
    share one compilation.

    Args:
        model: predicts them.
        atoms: give elements, periodic directions, total charge, and the cell of a cluster.
        extras: some of `EXTRAS`.
    """

    def __init__(self, model: Model, atoms, extras=()):
        self.model, self.atoms, self.count = model, atoms.copy(), 0
        self._extras = tuple(extras)
        self._sum_rule = "born_charges" in extras  # i-PI stops if it is violated

    @property
    def want(self) -> tuple[str, ...]:
        """Quantities to predict for the current atoms, stress if their cell has a volume."""
        stressed = self.atoms.pbc.any() and has_volume(self.atoms.cell.array)
        return ("energy", "forces", *(("stress",) if stressed else ()), *self._extras)

    def predict(self) -> Prediction:
        """Prediction for the current atoms.

        Raises:
            InputError: elements that the model does not know, or a quantity it does not have.
        """
        return self.model.predict(self.atoms, want=self.want, sum_rule=self._sum_rule)

    def __call__(self, cell, positions):
        """Arguments of `IPIProtocol.sendforce`: eV, eV/angstrom, eV and bytes.

        Args:
            cell: rows are lattice vectors, angstrom.
            positions: angstrom.

        Raises:
            InputError: another number of atoms, or a geometry that is not valid.
        """
        if len(positions) != len(self.atoms):
            raise InputError(
                f"the server sent {len(positions)} atoms and START has {len(self.atoms)}: it "
                "must hold the same atoms in the same order"
            )
        self.count += 1
        self.atoms.positions = positions
        if self.atoms.pbc.any():
            self.atoms.cell[:] = cell
        with naming(f"configuration {self.count} of the server"):
            out = self.predict()
        virial = np.zeros((3, 3))
        if out.stress is not None:
            virial = -self.atoms.get_volume() * out.stress
        extras = json.dumps(extras_of(out)).encode("ascii")
        return out.energy, out.forces, virial, np.frombuffer(extras, np.byte)


def extras_of(out: Prediction) -> dict:
    r"""Entries of the extra string that i-PI reads, in its units.

    `dipole` (3,), e bohr; `BEC` (3 atoms, 3), e: :math:`Z^*_{ab}` of an atom with the
    displacement `b` along the rows and the polarization `a` along the columns, so that the
    force of a field is `BEC @ E` (`ElectricDipole`, `BEC` and `EDAIntegrator` of i-PI 3.3.1,
    ipi/engine/motion/driven_dynamics.py).
    """
    extras = {}
    if out.polarization is not None:
        extras["dipole"] = (out.polarization / Bohr).tolist()
    if out.born_charges is not None:
        extras["BEC"] = out.born_charges.transpose(0, 2, 1).reshape(-1, 3).tolist()
    return extras


def serve_requests(connection: socket.socket, evaluate: Callable, address: Address) -> None:
    """Serves requests until EXIT; the connection is left open.

    Args:
        connection: to the server.
        evaluate: of cell and positions, angstrom; see `Evaluation`.
        address: of the server, for errors.

    Raises:
        InputError: the server closed the connection, or sent an unknown message.
    """
    protocol = IPIProtocol(connection)
    state, result = "NEEDINIT", None
    with _gone(address):
        while (message := _message(protocol)) != "EXIT":
            if message == "STATUS":
                protocol.sendmsg(state)
            elif message == "INIT":
                _check_init(protocol.recvinit()[1])
                state = "READY"
            elif message == "POSDATA":
                result, state = evaluate(*_configuration(protocol)), "HAVEDATA"
            elif message == "GETFORCE" and state == "HAVEDATA":
                protocol.sendforce(*result)
                state = "READY"
            else:
                raise InputError(
                    f"{address} is no i-PI server, or out of step: it says {message}"
                )


@contextmanager
def _gone(address):
    try:
        yield
    except OSError:
        raise InputError(
            f"the i-PI server at {address} went away without EXIT; its own output says why"
        ) from None


def _message(protocol) -> str:
    try:
        return protocol.recvmsg()
    except UnicodeDecodeError:
        return "what is not text"


def _configuration(protocol):
    """Cell and positions, angstrom."""
    try:
        cell, _, positions = protocol.recvposdata()
    except AssertionError:  # raised by ASE
        raise InputError("the server sent a cell or positions that are not finite") from None
    return cell, positions


def _check_init(text: np.ndarray) -> None:
    if b"batch_size" in text.tobytes():
        raise InputError("the server wants batches of configurations: set its batch_size to 1")
