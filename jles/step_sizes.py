"""Sizes of the steps of loops over atoms, by the machine they are compiled for.

Sums over many atoms are loops over chunks of them. On a CPU the arrays of a step should stay in
the cache, and the sizes below were tuned for that. On an accelerator a step is the unit of
parallel work. It should keep every thread busy many times over (a large GPU runs 2^18 at once),
and there should be few steps, because each of them starts several kernels one after the other.
Memory is the limit: an array of a step takes 256 MiB or less in float32, and the reverse pass
holds a few of them. The sizes for accelerators follow from this reasoning and are not measured.

The sizes do not change results, except for the order of summation.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import jax


class StepSizes(NamedTuple):
    """Sizes of the steps of every loop over atoms.

    Attributes:
        block_bytes: of the largest array of a block of atoms in a backbone.
        phase_products: of the direct sum, wave vectors in a plane times atoms of a chunk.
        phase_atoms: most atoms of a chunk of the direct sum.
        mesh_tiles: tiles that are spread on the particle mesh together.
        pairs: pairs of atoms of a step of the sum over a cluster.
        born_atoms: up to this many atoms the three reverse passes of Born charges run together.
        batch_in_turn: whether a training takes the structures of a batch one after the other.
        compile_apart: whether parts of a backbone are compiled by themselves, see
            `backbones.apart`.
        recompute: whether a backbone keeps only the results of its blocks for derivatives and
            computes the rest again, also where all atoms are one block.
    """

    block_bytes: int
    phase_products: int
    phase_atoms: int
    mesh_tiles: int
    pairs: int
    born_atoms: int
    batch_in_turn: bool
    compile_apart: bool = False
    recompute: bool = False


CPU = StepSizes(
    block_bytes=2**22,
    phase_products=2**19,
    phase_atoms=256,
    mesh_tiles=128,
    pairs=2**18,
    born_atoms=512,
    batch_in_turn=True,
    compile_apart=True,
)
ACCELERATOR = StepSizes(
    block_bytes=2**28,
    phase_products=2**26,
    phase_atoms=2**16,
    # The window of a tile has at most 16^3 points.
    mesh_tiles=2**14,
    # With quadrupoles there are twenty arrays of this size.
    pairs=2**22,
    born_atoms=2**14,
    batch_in_turn=False,
)

_CHOSEN: ContextVar[StepSizes | None] = ContextVar("step_sizes", default=None)


def step_sizes() -> StepSizes:
    """The sizes for the device that JAX compiles for by default; read while tracing."""
    chosen = _CHOSEN.get()
    if chosen is not None:
        return chosen
    return CPU if _platform() == "cpu" else ACCELERATOR


def _platform() -> str:
    device = jax.config.jax_default_device
    if device is None:
        return jax.default_backend()
    return device if isinstance(device, str) else device.platform


@contextmanager
def use_step_sizes(sizes: StepSizes) -> Iterator[None]:
    """Functions traced inside have these sizes, e.g. to export for another machine.

    Functions that were traced before keep theirs.
    """
    token = _CHOSEN.set(sizes)
    try:
        yield
    finally:
        _CHOSEN.reset(token)
