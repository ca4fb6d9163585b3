"""The assembled potential: pure functions of `(params, structure)`."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jles.config import from_dict
from jles.electrostatics.multipoles import Multipoles
from jles.electrostatics.response.induction import Response
from jles.errors import InputError
from jles.meshes import any_mesh, leading_spec
from jles.models.atoms import structure_of
from jles.models.backbones.build import check_backbone
from jles.models.backbones.features import Features
from jles.models.config import HEADS, ModelConfig
from jles.models.coupling import net_charge_coupling
from jles.models.describe import describe
from jles.models.enthalpy import LongRange, electronegativity_and_hardness
from jles.models.environment import Environment, Environments
from jles.models.latent import LatentHeads
from jles.models.network import apply_network
from jles.models.normalization import scale_first_layers
from jles.models.readouts import Readout
from jles.structures.batch import on_device
from jles.structures.structure import Structure, check_structure

Params = dict


def _by_atoms(potential, params, structure):
    """Sharding of results with a leading axis of atoms."""
    return leading_spec(structure.positions)


class EnergyParts(NamedTuple):
    """Energies by origin, eV, without element energies."""

    short_range: Float[Array, ""]
    long_range: Float[Array, ""]


class OwnParts(NamedTuple):
    """The part of some atoms of a structure in its energy.

    Attributes:
        short_range: energies of these atoms, eV; zero for others.
        moments: their permanent moments, zero for other atoms; None without latent charges.
        response: of their moments; None without one.
        valence: electronegativity (V) and hardness (V/e), on padding too; None unless charges
            are equilibrated, which leaves them no moments here.
    """

    short_range: Float[Array, " atoms"]
    moments: Multipoles | None
    response: Response | None
    valence: tuple[Float[Array, " atoms"], Float[Array, " atoms"]] | None


class Potential:
    """A model as pure functions of `(params, structure)`, for `jit`, `vmap` and `grad`.

    Lengths are in angstrom, energies in eV, charges in e, fields in V/angstrom. Energies do not
    include the element energies of the configuration.

    Attributes:
        config: of the model.
    """

    def __init__(self, config: ModelConfig):
        self.config = config
        self._environments = Environments(config)
        self._energy_readout = Readout(config.energy, start_at_zero=True)
        self._heads = LatentHeads(config)
        self._long_range = None
        if config.charges is not None:
            self._long_range = LongRange(config, self._environments, self._heads)

    def init(self, key, dtype=None) -> Params:
        """Initial parameters.

        Args:
            key: of `jax.random`.
            dtype: of the parameters, and of structures to use with them; by default the default
                precision of JAX.
        """
        dtype = jax.dtypes.canonicalize_dtype(dtype or float)
        keys = jax.random.split(key, 3)
        params, example = self._environments.init(keys[0], dtype)
        readout = self._energy_readout.init(keys[1], example.features.invariants)
        readouts = {"energy": dict(readout)["params"], **self._heads.init(keys[2], example)}
        if self.config.normalize_features:
            # The whole vector of normalized features has length one, not each of its entries.
            factor = math.sqrt(example.features.invariants.shape[1])
            for name in sorted(readouts):
                readouts[name] = scale_first_layers(readouts[name], factor)
        return params | readouts

    def check(self, params: Params) -> None:
        """Checks a backbone that was written elsewhere, once in a process.

        Raises:
            InputError: see `check_backbone`.
        """
        config = self.config
        has_charges = config.charges is not None
        check_backbone(config.backbone, config.elements, params["backbone"], has_charges)

    def structure(self, atoms, dtype=None, total_charge: float | None = None) -> Structure:
        """The structure that the functions take, with the cutoff and the sum plan of the model.

        Args:
            atoms: of ASE.
            dtype: of the parameters; by default the default precision of JAX.
            total_charge: e; by default `atoms.info["total_charge"]`, or 0 where that is not
                set.

        Raises:
            InputError: an element that the model does not know, or geometry that cannot be
                right.
        """
        dtype = jax.dtypes.canonicalize_dtype(dtype or float)
        return on_device(
            structure_of(atoms, self.config, total_charge=total_charge, dtype=dtype)
        )

    def __str__(self) -> str:
        return describe(self.config, jax.eval_shape(self.init, jax.random.key(0)))

    def energy_fn(self, params: Params, structure: Structure) -> Float[Array, ""]:
        """Energy, eV."""
        return self.enthalpy_fn(params, structure)

    def enthalpy_fn(
        self, params: Params, structure: Structure, field: Float[Array, " 3"] | None = None
    ) -> Float[Array, ""]:
        """Enthalpy (eV) in a field; see `electrostatics.enthalpy`."""
        return sum(self.parts_fn(params, structure, field))

    @any_mesh()
    def parts_fn(
        self, params: Params, structure: Structure, field: Float[Array, " 3"] | None = None
    ) -> EnergyParts:
        """Short-range and long-range parts of the energy, or of the enthalpy in a field."""
        environment = self._environments(params, structure)
        short = jnp.sum(self._short_range(params, environment))
        if self._long_range is None:
            return EnergyParts(short, jnp.zeros_like(short))
        if field is None:
            return EnergyParts(short, self._long_range.enthalpy(params, environment).energy)
        latent = self.factor_fn(params, structure) * field
        long = self._long_range.enthalpy(params, environment, latent).energy
        return EnergyParts(short, long - net_charge_coupling(field, structure))

    def own_parts_fn(
        self,
        params: Params,
        structure: Structure,
        neighbors: Float[Array, "atoms neighbors 3"] | None = None,
        bloch: Float[Array, " 3"] | None = None,
    ) -> OwnParts:
        """Contributions of the atoms where `structure.mask` is True, without any lattice sum.

        With these a structure can be evaluated in parts (`jles.domains`). Permanent moments
        must depend on the surroundings of their atom alone; charges are not shifted to a total
        charge, see `latent.with_share`.

        Args:
            params: of the model.
            structure: these atoms, and atoms around them.
            neighbors: positions of the neighbours, angstrom; by default those of the structure.
            bloch: t, 1/angstrom, for Bloch-weighted derivatives, see `jles.bloch.weighted`;
                those of `neighbors` must be so weighted.
        """
        environment = self._environments(params, structure, bloch, neighbors)
        short = self._short_range(params, environment)
        if self._long_range is None:
            return OwnParts(short, None, None, None)
        if self.config.charges.kind == "equilibrated":
            values = self._heads.values(params, "charges", environment)
            return OwnParts(short, None, None, electronegativity_and_hardness(values))
        return OwnParts(short, *self._heads.unconstrained(params, environment), None)

    def _short_range(self, params, environment: Environment):
        """Energies of the atoms, eV, zero on padding."""
        features = environment.features
        atomic = apply_network(
            self._energy_readout,
            params["energy"],
            features.invariants,
            precision=self.config.precision,
        )[:, 0]
        if features.energies is not None:
            atomic = atomic + features.energies
        return jnp.where(environment.structure.mask, atomic, 0.0)

    @any_mesh(_by_atoms)
    def moments_fn(self, params: Params, structure: Structure) -> Multipoles:
        """Effective latent moments: permanent and induced ones.

        Raises:
            InputError: the model has no latent charges.
        """
        check_structure(structure)
        if self._long_range is None:
            raise InputError("the model has no latent moments (charges is null)")
        return self._long_range.moments(params, structure)

    @any_mesh(_by_atoms)
    def charges_fn(
        self, params: Params, structure: Structure
    ) -> Float[Array, "atoms channels"]:
        """Latent charges (e) of the permanent moments; no channels without charges."""
        check_structure(structure)
        if self._long_range is None:
            return jnp.zeros((structure.mask.shape[0], 0), structure.positions.dtype)
        return self._long_range.charges(params, structure)

    @any_mesh()
    def dipole_fn(self, params: Params, structure: Structure) -> Float[Array, " 3"]:
        """Dipole or polarization, e angstrom: -dH/dE at zero field.

        In a crystal it is on the branch of the positions, and its derivatives are exact.
        """
        check_structure(structure)
        if self._long_range is None:
            return jnp.zeros(3, structure.positions.dtype)
        return self._long_range.polarization(params, structure)

    @any_mesh()
    def coupling_fn(
        self,
        params: Params,
        structure: Structure,
        field: Float[Array, " 3"],
        local: bool = False,
    ) -> Float[Array, ""]:
        """E . P as a scalar: its reverse mode takes one pass, that of `dipole_fn` takes three.

        With `local` (static) its derivatives in a molecule are those of a crystal, without the
        uniform shift that corrects the total charge (docs/theory.md, Uniform shifts).

        Raises:
            InputError: the model has no latent charges; or `local`, and its charges respond to
                the potential.
        """
        check_structure(structure)
        if self._long_range is None:
            raise InputError("the model has no latent charges to couple to a field")
        return self._long_range.coupling(params, structure, field, local)

    @any_mesh()
    def factor_fn(self, params: Params, structure: Structure) -> Float[Array, ""]:
        """The factor from latent to physical moments; 1 unless `config.screening` is set.

        Enthalpy, dipole and coupling contain it.
        """
        check_structure(structure)
        if self._long_range is None:
            return jnp.ones((), structure.positions.dtype)
        return self._long_range.factor(params, structure)

    @any_mesh(_by_atoms)
    def features_fn(self, params: Params, structure: Structure) -> Features:
        """Features of the backbone, not normalized."""
        return self._environments.raw(params, structure).features


def build_potential(config: ModelConfig | Mapping) -> Potential:
    """Assembles backbone, read-outs and electrostatics.

    Args:
        config: of the model, or a dict with its keys (docs/config.md).

    Raises:
        InputError: a key that does not exist, or a value that is wrong.
    """
    if isinstance(config, Mapping):
        config = from_dict(ModelConfig, config, "model")
    return Potential(config)


def without_long_range(config: ModelConfig) -> ModelConfig:
    """The same network without latent charges, to measure the long range against."""
    return config.replace(charges=None, **dict.fromkeys(HEADS))
