"""Electrostatics of smeared multipoles: `lattice_sum` and the pure functions it calls."""

from jles.electrostatics.energy_parts import energy_parts as energy_parts
from jles.electrostatics.interaction import Boundary as Boundary
from jles.electrostatics.interaction import build_interaction as build_interaction
from jles.electrostatics.lattice_sum import LatticeSum as LatticeSum
from jles.electrostatics.lattice_sum import lattice_sum as lattice_sum
from jles.electrostatics.multipoles import Multipoles as Multipoles
from jles.electrostatics.multipoles import background_energy as background_energy
from jles.electrostatics.multipoles import self_energy as self_energy
from jles.electrostatics.partial_sums import energy_of_sums as energy_of_sums
from jles.electrostatics.partial_sums import partial_sums as partial_sums
from jles.electrostatics.plan import SlabPlan as SlabPlan
from jles.electrostatics.plan import SumPlan as SumPlan
from jles.electrostatics.plan import plan_is_too_small as plan_is_too_small
from jles.electrostatics.plan import plan_sum as plan_sum
from jles.electrostatics.response.applied_field import enthalpy as enthalpy
from jles.electrostatics.response.equilibration import (
    equilibrate_charges as equilibrate_charges,
)
from jles.electrostatics.response.induction import Response as Response
from jles.electrostatics.response.induction import induce as induce
from jles.electrostatics.response.induction import local_field as local_field
from jles.electrostatics.response.induction import relax as relax
from jles.electrostatics.sums.cluster import cluster_energy as cluster_energy
from jles.electrostatics.sums.ewald import ewald_energy as ewald_energy
from jles.electrostatics.sums.ewald import kgrid_is_too_small as kgrid_is_too_small
from jles.electrostatics.sums.kgrid import KGrid as KGrid
from jles.electrostatics.sums.kgrid import kgrid_overflow as kgrid_overflow
from jles.electrostatics.sums.kgrid import merge_kgrids as merge_kgrids
from jles.electrostatics.sums.kgrid import plan_kgrid as plan_kgrid
from jles.electrostatics.sums.mesh import MeshPlan as MeshPlan
from jles.electrostatics.sums.mesh import plan_mesh as plan_mesh
from jles.electrostatics.sums.mesh import pme_energy as pme_energy
