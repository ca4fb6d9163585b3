"""Parts of a backbone that XLA compiles by themselves.

XLA computes cheap operations again in every kernel that reads their results. A function with
many results, each from a few of many arrays, then carries a copy of its surroundings in each of
its kernels. For the invariants of CACE this makes up most of the compilation.
"""

from collections.abc import Callable
from functools import partial

import jax
from jax.experimental.xla_metadata import set_xla_metadata

from jles.meshes import on_several_devices
from jles.step_sizes import step_sizes


def apart(function: Callable, *arrays):
    """`function(*arrays)`, compiled without its surroundings, and so are its derivatives.

    Derivatives compute intermediate results again. Results change by no more than rounding. On
    an accelerator, and for arrays that the compiler spreads over devices, this is
    `function(*arrays)`.

    Args:
        function: of arrays or trees of arrays. It is a key of JAX's cache: pass the same one
            each time.
        arrays: its arguments.
    """
    leaves = jax.tree.leaves(arrays)
    if not step_sizes().compile_apart or any(map(on_several_devices, leaves)):
        return function(*arrays)
    with set_xla_metadata(inlineable="false"):
        return _alone(function, *arrays)


@partial(jax.jit, static_argnums=0)
def _alone(function: Callable, *arrays):
    # The functions that it calls are part of it.
    with set_xla_metadata(inlineable="true"):
        return jax.checkpoint(function, prevent_cse=False)(*arrays)
