"""Runs of the real i-PI, and the same by ASE."""

import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from ase import units
from ase.md.verlet import VelocityVerlet

from jles.errors import InputError
from jles.predict.ipi import connect

TIMESTEP = 40.0  # atomic units
STEPS = 8
INPUT = """
<simulation verbosity='quiet' floatformat='%24.16e' sockets_prefix='./'>
  <output prefix='out'>
    <properties stride='1' filename='md'> [ potential, {dipole}{places} ] </properties>
  </output>
  <total_steps> {steps} </total_steps>
  <ffsocket name='jles' mode='unix'> <address> s </address> </ffsocket>
  <system>
    <initialize nbeads='{beads}'>
      <positions mode='manual'> {positions} </positions>
      <labels mode='manual'> {symbols} </labels>
      <masses mode='manual'> {masses} </masses>
      <cell mode='manual'> {cell} </cell>
      <velocities mode='manual'> {velocities} </velocities>
    </initialize>
    <forces> <force forcefield='jles'/> </forces>
    <ensemble> <temperature units='kelvin'> 300 </temperature> </ensemble>
    {motion}
  </system>
</simulation>
"""
NVE = """<motion mode='dynamics'> <fixcom> False </fixcom>
  <dynamics mode='nve'> <timestep> {timestep} </timestep> </dynamics> </motion>"""
DRIVEN = """<motion mode='driven_dynamics'> <fixcom> False </fixcom>
  <driven_dynamics mode='eda-nve'> <timestep> {timestep} </timestep>
    <efield> <amp> {field} </amp> </efield> <bec mode='driver'/>
  </driven_dynamics> </motion>"""


def numbers(values):
    return "[ " + ", ".join(f"{value:.17g}" for value in np.ravel(values)) + " ]"


def write_input(path, atoms, velocities, field, beads=1):
    """The run as i-PI's own file, everything in atomic units."""
    motion = NVE if field is None else DRIVEN
    amplitude = numbers(np.zeros(3) if field is None else field * units.Bohr / units.Ha)
    places = [f"atom_x({n})" for n in range(len(atoms))]
    text = INPUT.format(
        dipole="" if field is None else "dipole, ",
        places=", ".join(places),
        steps=STEPS,
        beads=beads,
        symbols="[ " + ", ".join(atoms.symbols) + " ]",
        masses=numbers(atoms.get_masses() * units._amu / units._me),
        cell=numbers(atoms.cell.array.T / units.Bohr),
        positions=numbers([atoms.positions / units.Bohr] * beads),
        velocities=numbers([velocities * units.AUT / units.Bohr] * beads),
        motion=motion.format(timestep=TIMESTEP, field=amplitude),
    )
    path.write_text(text, encoding="utf-8")


def patient(address):
    """A connection; tries again while the socket exists but the server does not listen."""
    for _ in range(50):
        try:
            return connect(address)
        except InputError:
            time.sleep(0.05)
    return connect(address)


@contextmanager
def ipi_server(folder):
    """The real i-PI, listening at the Unix socket ./s of the folder."""
    program = Path(sys.executable).with_name("i-pi")
    with subprocess.Popen([sys.executable, program, "input.xml"], cwd=folder) as process:
        deadline = time.monotonic() + 20.0
        while not (folder / "s").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        try:
            yield
            assert process.wait(20.0) == 0
        finally:
            process.kill()


def ase_run(atoms, velocities, calculator):
    """Energies, eV, and places, angstrom, of the same run."""
    atoms = atoms.copy()
    atoms.set_velocities(velocities)
    atoms.calc = calculator
    dynamics = VelocityVerlet(atoms, timestep=TIMESTEP * units.AUT)
    frames = [
        (atoms.get_potential_energy(), atoms.positions.copy()) for _ in dynamics.irun(STEPS)
    ]
    return map(np.array, zip(*frames, strict=True))
