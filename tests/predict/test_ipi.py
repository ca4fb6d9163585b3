"""The i-PI client: messages, the end of a connection, and the real i-PI against ASE."""

import copy
import socket
import threading
from contextlib import contextmanager

import jax
import numpy as np
import pytest
from ase import units
from ase.calculators.socketio import IPIProtocol

from jles.cli.main import main
from jles.errors import InputError
from jles.models.config import FlowCharges
from jles.models.store import save_model
from jles.predict.ipi import Address, Evaluation, connect, serve_requests
from jles.predict.model import Model
from tests.support.ipi_runs import ase_run, ipi_server, patient, write_input
from tests.support.small_systems import (
    rattled,
    small_backbone,
    small_config,
    small_model,
    write_frames,
)

# i-PI knows cells with the first vector along x and the second in the xy plane.
CELL = np.array([[4.1, 0.0, 0.0], [0.9, 4.4, 0.0], [-0.6, 0.8, 4.7]])
# Charge that only flows between atoms: Born charges obey the sum rule as they are.
CONFIG = small_config(
    backbone=small_backbone(l_max=0, body_order=1),
    charges=FlowCharges(hidden=(), flow_width=2, scale=1.0),
)
CLUSTER = rattled(0, count=4, pbc=False)
FIELD = np.array([0.03, -0.05, 0.08])


@pytest.fixture(scope="module")
def model():
    return Model(CONFIG, small_model(CONFIG)[1], "float64", where="runs/test")


@pytest.fixture(scope="module")
def evaluate(model):
    return Evaluation(model, rattled(0, cell=CELL))


@contextmanager
def serving(script):
    """A server that runs `script(protocol)` for one client; yields its address."""
    failures = []

    def play():
        connection, _ = listener.accept()
        try:
            script(IPIProtocol(connection))
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20.0)
        thread = threading.Thread(target=play)
        thread.start()
        try:
            yield Address("127.0.0.1", listener.getsockname()[1])
        finally:
            thread.join(20.0)
    assert failures == []


def converse(script, evaluate):
    """Serves a scripted server in this thread until it ends."""
    with serving(script) as address, connect(address) as connection:
        serve_requests(connection, evaluate, address)


def ask(evaluate, *configurations):
    """The message that a server receives for (cell, positions)."""
    results = []

    def script(protocol):
        results.extend(
            protocol.calculate(positions, cell) for cell, positions in configurations
        )
        protocol.end()

    converse(script, evaluate)
    return results


def test_a_server_gets_what_the_model_says(model, evaluate):
    atoms = rattled(1, cell=1.05 * CELL)
    (results,) = ask(evaluate, (atoms.cell.array, atoms.positions))
    out = model.predict(atoms, want=evaluate.want)
    np.testing.assert_allclose(results["energy"], out.energy, rtol=1e-12)
    np.testing.assert_allclose(results["forces"], out.forces, atol=1e-9)
    np.testing.assert_allclose(results["virial"], -atoms.get_volume() * out.stress, atol=1e-9)


def test_the_virial_is_minus_the_slope_of_the_energy_along_a_strain(evaluate):
    atoms, step = rattled(2, cell=CELL), 1e-4
    strain = np.array([[0.3, 0.5, -0.2], [0.5, -0.1, 0.4], [-0.2, 0.4, 0.6]])
    strained = [np.eye(3) + sign * step * strain for sign in (0.0, 1.0, -1.0)]
    results = ask(evaluate, *[(atoms.cell.array @ f, atoms.positions @ f) for f in strained])
    slope = (results[1]["energy"] - results[2]["energy"]) / (2.0 * step)
    np.testing.assert_allclose(-np.sum(results[0]["virial"] * strain), slope, rtol=1e-6)


def test_a_cluster_keeps_its_cell_and_has_no_virial(model):
    (results,) = ask(Evaluation(model, CLUSTER), (np.eye(3), CLUSTER.positions))
    np.testing.assert_allclose(results["energy"], model.predict(CLUSTER).energy, rtol=1e-12)
    assert not np.any(results["virial"])


def still(cell, positions):
    """Atoms that stay at rest."""
    return 0.0, np.zeros_like(positions), np.zeros((3, 3)), np.zeros(1, np.byte)


def test_the_states_of_a_client_follow_the_protocol():
    seen = []

    def script(protocol):
        seen.append(protocol.status())
        protocol.sendinit()
        seen.append(protocol.status())
        protocol.sendposdata(CELL, np.linalg.inv(CELL), np.zeros((2, 3)))
        seen.append(protocol.status())
        protocol.sendrecv_force()
        seen.append(protocol.status())
        protocol.end()

    converse(script, still)
    assert seen == ["NEEDINIT", "READY", "HAVEDATA", "READY"]


def send_positions(positions):
    return lambda protocol: protocol.sendposdata(CELL, np.linalg.inv(CELL), positions)


def send_batches(protocol):
    protocol.sendmsg("INIT")
    protocol.send([0, 12], np.int32)
    protocol.send(bytearray(b"batch_size:4"), np.byte)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (lambda protocol: protocol.status(), "went away without EXIT"),
        (lambda protocol: protocol.sendmsg("GETFORCE"), "out of step: it says GETFORCE"),
        (lambda protocol: protocol.sendmsg("HTTP/1.1 400"), "is no i-PI server"),
        (lambda protocol: protocol.socket.sendall(bytes(range(200, 212))), "is no i-PI server"),
        (send_positions(np.full((6, 3), np.nan)), "not finite"),
        (send_positions(np.zeros((5, 3))), "sent 5 atoms and START has 6"),
        (send_positions(np.zeros((6, 3))), "configuration"),
        (send_batches, "batch_size to 1"),
    ],
)
def test_what_goes_wrong_is_said_in_words(evaluate, script, words):
    with pytest.raises(InputError, match=words):
        converse(script, evaluate)


def test_a_force_that_is_no_number_stops_the_client(model):
    broken = copy.copy(model)
    broken.params = jax.tree.map(lambda leaf: leaf * np.nan, model.params)
    atoms = rattled(0, cell=CELL)
    with pytest.raises(InputError, match="configuration 1 .* is not a finite number"):
        Evaluation(broken, atoms)(atoms.cell.array, atoms.positions)


def test_where_nobody_listens(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = Address("127.0.0.1", listener.getsockname()[1])
    for address in (free, Address(unix=str(tmp_path / "none"))):
        with pytest.raises(InputError, match=r"no i-PI server at .* \(.+\); start it first"):
            connect(address)
    with pytest.raises(InputError, match="port must be between 1 and 65535, got 0"):
        Address(port=0)
    assert Address(unix="water").path == "/tmp/ipi_water"


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """A model directory and a start, a cluster."""
    folder = tmp_path_factory.mktemp("serve")
    save_model(folder / "model", CONFIG, model.params)
    return str(folder / "model"), write_frames(folder / "start.xyz", [CLUSTER])


def serve(files, *options):
    return main(["serve", "--ipi", *files, "--dtype", "float64", *options])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--port", "70000"), "--port must be between 1 and 65535, got 70000"),
        (("--unix", "water", "--host", "here"), "--host goes with --port"),
    ],
)
def test_addresses_that_cannot_be_end_in_one_line(files, capsys, options, words):
    assert serve(files, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_a_start_of_other_elements_ends_in_one_line(files, capsys, tmp_path):
    other = write_frames(tmp_path / "other.xyz", [rattled(0, symbols=("H", "Cl"))])
    assert serve((files[0], other)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "other.xyz, frame 0: element Cl is not among the known elements H, O" in line


@pytest.fixture
def velocities():
    return np.random.default_rng(3).normal(0.0, 0.1, (6, 3))


@pytest.mark.parametrize("beads", [1, 3])
def test_the_real_ipi_goes_where_ase_goes(
    model, evaluate, velocities, tmp_path, monkeypatch, beads
):
    """A ring polymer whose beads start in the same state moves like one atom."""
    pytest.importorskip("ipi")
    monkeypatch.chdir(tmp_path)
    atoms = rattled(0, cell=CELL)
    write_input(tmp_path / "input.xml", atoms, velocities, None, beads)
    address = Address(unix="./s")
    with ipi_server(tmp_path), patient(address) as connection:
        serve_requests(connection, evaluate, address)
    table = np.loadtxt(tmp_path / "out.md")
    energies, places = ase_run(atoms, velocities, model.calculator())
    assert_close(table[:, 0] * units.Ha, energies)
    assert_close(table[:, 1:].reshape(places.shape) * units.Bohr, places)


def test_the_real_ipi_in_a_field_goes_where_ase_goes(
    files, model, velocities, tmp_path, monkeypatch
):
    """i-PI applies the Born charges that it receives, ASE the forces of the enthalpy."""
    pytest.importorskip("ipi")
    monkeypatch.chdir(tmp_path)
    atoms = CLUSTER.copy()
    atoms.cell = CELL  # i-PI must have one
    write_input(tmp_path / "input.xml", atoms, velocities[:4], FIELD)
    with ipi_server(tmp_path):
        assert serve(files, "--unix", "./s", "--born-charges") == 0
    table = np.loadtxt(tmp_path / "out.md")
    energies, places = ase_run(CLUSTER, velocities[:4], model.calculator(field=FIELD))
    assert_close(table[:, 0] * units.Ha - table[:, 1:4] @ FIELD * units.Bohr, energies)
    assert_close(table[:, 4:].reshape(places.shape) * units.Bohr, places)


def assert_close(values, expected):
    np.testing.assert_allclose(values, expected, rtol=0.0, atol=1e-12)
    assert np.ptp(expected, axis=0).max() > 1e-4
