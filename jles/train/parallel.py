"""Data-parallel training: a batch is shared by devices, the parameters are on each of them.

With a global batch of B structures on n devices, device d takes the structures d B/n to
(d + 1) B/n - 1. Losses, errors and gradients are sums over structures, so a step needs two
`all-reduce`: of the counts of labels, and of the sums. Nothing else is communicated.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jles.data.packing import WHOLE, Budget, Share
from jles.errors import ConfigError
from jles.local_devices import devices_of
from jles.train.parallel_config import ParallelConfig

_AXIS = "structures"
_SHARED, _EVERYWHERE = PartitionSpec(_AXIS), PartitionSpec()


class Devices(NamedTuple):
    """The devices that share every batch of a training.

    Attributes:
        mesh: has one axis; None for a single device, on which every method returns what it is
            given.
    """

    mesh: Mesh | None = None

    @property
    def share(self) -> Share:
        """The part of every batch that this process reads."""
        if self.mesh is None:
            return WHOLE
        owners = [device.process_index for device in self.mesh.devices]
        first = owners.index(jax.process_index())
        return Share(first, first + owners.count(jax.process_index()), len(owners))

    def spread(self, share):
        """The whole batch, each device with its part, from the share of this process."""
        if self.mesh is None:
            return share
        sharding, own = NamedSharding(self.mesh, _SHARED), self.share

        def place(rows):
            count = len(rows) * own.parts // (own.last - own.first)
            shape = (count, *np.shape(rows)[1:])
            return jax.make_array_from_process_local_data(sharding, rows, shape)

        return jax.tree.map(place, share)

    def everywhere(self, tree):
        """Arrays that are the same in every process, as arrays on every device."""
        if self.mesh is None:
            return tree
        sharding = NamedSharding(self.mesh, _EVERYWHERE)

        def place(leaf):
            array = np.asarray(leaf)
            return jax.make_array_from_process_local_data(sharding, array, array.shape)

        return jax.tree.map(place, tree)

    def total(self, function: Callable) -> Callable:
        """`function(shared, batch, add)` of the whole batch, computed part by part.

        Args:
            function: is called with arguments `shared` that are on every device, the batch of
                a device, and `add`, which sums a tree of arrays over devices. Its results must
                be the same on every device.
        """
        if self.mesh is None:
            return partial(function, add=lambda parts: parts)
        return jax.shard_map(
            partial(function, add=lambda parts: jax.lax.psum(parts, _AXIS)),
            mesh=self.mesh,
            in_specs=(_EVERYWHERE, _SHARED),
            out_specs=_EVERYWHERE,
            check_vma=False,
        )


def choose_devices(
    config: ParallelConfig | None, batch_size: int | Budget, accumulate: int = 1
) -> Devices:
    """The devices of a training.

    Args:
        config: which are wanted.
        batch_size: structures of a whole batch; those of a budget are made a multiple of the
            devices.
        accumulate: parts into which a device cuts its share.

    Raises:
        InputError: a process has fewer devices than asked for, or they do not divide the batch.
    """
    chosen = [] if config else [jax.local_devices()[0]]
    for process in range(jax.process_count() if config else 0):
        # Sorted by process, so that the share of a process is one piece.
        chosen += devices_of(process, config.devices)
    is_fixed = not isinstance(batch_size, Budget)
    if is_fixed and batch_size % (len(chosen) * accumulate):
        raise ConfigError(_does_not_divide(batch_size, len(chosen), accumulate))
    if len(chosen) == 1:
        return Devices()
    return Devices(Mesh(np.array(chosen), (_AXIS,), axis_types=(AxisType.Auto,)))


def _does_not_divide(batch_size: int, devices: int, accumulate: int) -> str:
    least = devices * accumulate
    above = -(-batch_size // least) * least
    multiples = " or ".join(str(n) for n in (above - least, above) if n)
    in_parts = f" in {accumulate} parts each (accumulate)" if accumulate > 1 else ""
    fewer = [n for n in range(1, devices) if batch_size % (n * accumulate) == 0][-4:]
    if devices == 1:
        return (
            f"batch_size: {batch_size} structures cannot be cut into {accumulate} equal parts "
            f"(accumulate); take {multiples}"
        )
    other = f", or {', '.join(map(str, fewer))} devices (parallel.devices)" if fewer else ""
    return (
        f"batch_size: {batch_size} structures cannot be shared equally by {devices} "
        f"devices{in_parts}; take {multiples}{other}"
    )
