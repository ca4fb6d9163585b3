"""Electrostatics of smeared charges: pure functions of arrays, and one convenience."""

from jles.electrostatics.ewald import background_energy as background_energy
from jles.electrostatics.ewald import ewald_energy as ewald_energy
from jles.electrostatics.ewald import kgrid_is_too_small as kgrid_is_too_small
from jles.electrostatics.ewald import self_energy as self_energy
from jles.electrostatics.kgrid import KGrid as KGrid
from jles.electrostatics.kgrid import kgrid_overflow as kgrid_overflow
from jles.electrostatics.kgrid import merge_kgrids as merge_kgrids
from jles.electrostatics.kgrid import plan_kgrid as plan_kgrid
from jles.electrostatics.lattice_sum import LatticeSum as LatticeSum
from jles.electrostatics.lattice_sum import Multipoles as Multipoles
from jles.electrostatics.lattice_sum import Response as Response
from jles.electrostatics.lattice_sum import lattice_sum as lattice_sum
from jles.electrostatics.realspace import cluster_energy as cluster_energy
