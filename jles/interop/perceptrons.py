"""Dense layers of a checkpoint as Flax parameters: torch stores [out, in], Flax (in, out)."""

import numpy as np

from jles.interop.module_tree import Module
from jles.interop.pickle_records import Global
from jles.models.backbones.cace import n_features
from jles.models.backbones.cace_config import CaceConfig

_FEATURES = ["node_feats"]
_STATES = ["charge_states"]


def import_perceptron(
    network: Module, n_in: int, n_out: int
) -> tuple[tuple[int, ...], bool, dict]:
    """Hidden sizes, whether there are biases, and {"layers_i": ...} of a stack of Dense blocks.

    Raises:
        InputError: batch norm, an activation other than SiLU between layers, biases in some
            layers only, or sizes that do not match.
    """
    blocks = network.children()
    if not blocks:
        raise network.error("", "has no layers")
    layers, sizes = {}, []
    for n, block in enumerate(blocks):
        last = n == len(blocks) - 1
        layers[f"layers_{n}"] = import_dense(block, n_in, n_out if last else None, last)
        n_in = layers[f"layers_{n}"]["kernel"].shape[1]
        sizes.append(n_in)
    biased = {"bias" in layer for layer in layers.values()}
    if len(biased) != 1:
        raise network.error("", "some layers have a bias and some have none: not supported")
    return tuple(sizes[:-1]), biased.pop(), layers


def import_dense(block: Module, n_in: int, n_out: int | None, is_last: bool) -> dict:
    """Kernel and bias of one Dense block; the last one must have no activation."""
    block.refuse_unless("use_batchnorm", False)
    _check_activation(block, is_last)
    linear = block.module("linear", ".Linear")
    weight = linear.array("weight")
    n_out = weight.shape[0] if n_out is None and weight.ndim == 2 else n_out
    weight = linear.array("weight", (n_out, n_in))
    layer = {"kernel": np.ascontiguousarray(weight.T)}
    if linear.find("bias") is not None:
        layer["bias"] = np.array(linear.array("bias", (n_out,)))
    return layer


def _check_activation(block: Module, is_last: bool):
    activation = block.find("activation")
    if is_last:
        block.module("activation", ".Identity")
    elif activation != Global("torch.nn.functional.silu"):
        raise block.error("activation", "only silu is supported between layers")


def reads_charge_state(atomwise: Module) -> bool:
    """Whether the charge state of the structure is an input beside the features.

    Raises:
        InputError: other inputs.
    """
    inputs = [*_FEATURES, *_STATES]
    atomwise.refuse_unless("feature_key", *_FEATURES, _FEATURES, inputs)
    return atomwise.find("feature_key") == inputs


def import_readout(atomwise: Module, backbone: CaceConfig, outputs: int):
    """Hidden sizes, the other fields of a ReadoutConfig, and the parameters of an Atomwise.

    Raises:
        InputError: an option that jles does not support, or sizes that do not fit the backbone.
    """
    for name in ("residual", "use_batchnorm"):
        atomwise.refuse_unless(name, False)
    atomwise.refuse_unless("post_process")
    n_in = n_features(backbone) + reads_charge_state(atomwise)
    n_out = int(atomwise.number("n_out", outputs))
    if n_out != outputs:
        raise atomwise.error("n_out", f"{n_out} energies per atom; expected {outputs}")
    hidden, bias, layers = import_perceptron(atomwise.module("outnet"), n_in, outputs)
    fields, params = {"bias": bias, "linear": False}, {"perceptron": layers}
    if atomwise.find("linear_nn") is not None and atomwise.get("add_linear_nn", bool, True):
        linear = atomwise.module("linear_nn")
        params["linear"] = import_dense(linear, n_in, outputs, is_last=True)
        fields |= {"linear": True, "linear_bias": "bias" in params["linear"]}
    return hidden, fields, params
