"""Files of torch.save, read without torch: a zip of one pickle and raw arrays.

The pickle may name only the globals of `VOCABULARY`, none of which is imported. Every size is
checked against the file before memory is allocated.
"""

import zipfile
from pathlib import Path

import numpy as np

from jles.errors import InputError
from jles.interop.pickle_records import Global, Record, Vocabulary, read_records

_CLASSES = {
    "cace.models.atomistic.NeuralNetworkPotential",
    "cace.models.combined.CombinePotential",
    "cace.representations.cace_representation.Cace",
    "cace.modules.preprocess.Preprocess",
    "cace.modules.type.NodeEncoder",
    "cace.modules.type.NodeEmbedding",
    "cace.modules.type.EdgeEncoder",
    "cace.modules.radial.BesselRBF",
    "cace.modules.cutoff.PolynomialCutoff",
    "cace.modules.angular.AngularComponent",
    "cace.modules.radial_transform.SharedRadialLinearTransform",
    "cace.modules.symmetrize_basis.Symmetrizer",
    "cace.modules.interaction.NodeMemory",
    "cace.modules.interaction.MessageAr",
    "cace.modules.interaction.MessageBchi",
    "cace.modules.atomwise.Atomwise",
    "cace.modules.blocks.Dense",
    "cace.modules.ewald.EwaldPotential",
    "cace.modules.feature_mix.FeatureAdd",
    "cace.modules.forces.Forces",
    "cace.modules.polarization.Polarization",
    "cace.modules.polarization.Dephase",
    "cace.modules.grad.Grad",
    "cace.modules.les_wrapper.LesWrapper",
    "les.les.Les",
    "les.les._DummyAtomwise",
    "les.module.atomwise.Atomwise",
    "les.module.bec.BEC",
    "les.module.blocks.Dense",
    "les.module.ewald.Ewald",
    "torch.nn.modules.container.ModuleList",
    "torch.nn.modules.container.ParameterList",
    "torch.nn.modules.container.Sequential",
    "torch.nn.modules.linear.Linear",
    "torch.nn.modules.linear.Identity",
}
_MACE_CLASSES = {
    "e3nn.math._normalize_activation.normalize2mom",
    "e3nn.nn._activation.Activation",
    "e3nn.nn._fc.FullyConnectedNet",
    "e3nn.nn._fc._Layer",
    "e3nn.o3._linear.Linear",
    "e3nn.o3._spherical_harmonics.SphericalHarmonics",
    "e3nn.o3._tensor_product._sub.FullyConnectedTensorProduct",
    "e3nn.o3._tensor_product._tensor_product.TensorProduct",
    "mace.modules.blocks.AtomicEnergiesBlock",
    "mace.modules.blocks.EquivariantProductBasisBlock",
    "mace.modules.blocks.LinearNodeEmbeddingBlock",
    "mace.modules.blocks.LinearReadoutBlock",
    "mace.modules.blocks.NonLinearReadoutBlock",
    "mace.modules.blocks.RadialEmbeddingBlock",
    "mace.modules.blocks.RealAgnosticInteractionBlock",
    "mace.modules.blocks.RealAgnosticResidualInteractionBlock",
    "mace.modules.blocks.ScaleShiftBlock",
    "mace.modules.extensions.MACELES",
    "mace.modules.irreps_tools.reshape_irreps",
    "mace.modules.models.MACE",
    "mace.modules.models.MACELES",
    "mace.modules.models.ScaleShiftMACE",
    "mace.modules.radial.BesselBasis",
    "mace.modules.radial.PolynomialCutoff",
    "mace.modules.symmetric_contraction.Contraction",
    "mace.modules.symmetric_contraction.SymmetricContraction",
}
_MACE_VALUES = {
    "e3nn.o3._irreps.Irrep",
    "e3nn.o3._irreps.Irreps",
    "e3nn.o3._irreps._MulIr",
    "e3nn.o3._linear.Instruction",
    "e3nn.o3._tensor_product._instruction.Instruction",
}
_STORAGES = {
    "torch.FloatStorage": "<f4",
    "torch.DoubleStorage": "<f8",
    "torch.HalfStorage": "<f2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "<i1",
    "torch.ByteStorage": "<u1",
    "torch.BoolStorage": "?",
}

VOCABULARY = Vocabulary(
    classes=frozenset(_CLASSES | _MACE_CLASSES),
    functions=frozenset(
        {"torch.nn.functional.silu", "cace.models.combined.default_operation", *_STORAGES}
    ),
    values=frozenset(_MACE_VALUES),
    # Compiled pieces of MACE, whose content is in the tensors of their modules as well.
    opaque=frozenset({"torch.fx.graph_module.reduce_graph_module"}),
)
"""The globals of the published CACE-LES, MACE and MACE-LES checkpoints."""

_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
_EXPECTED = "expected a model saved by torch.save of torch 1.6 or newer"


def read_torch_zip(path) -> Record:
    """The object in a file of torch.save, as a `Record`; nothing in it is executed.

    Tensors become read-only NumPy views, which share storage as in the file; modules become
    records with their attributes; functions become names.

    Args:
        path: the file (.pth, .pt).

    Raises:
        InputError: no such file, not a torch zip archive, an old format, truncated or damaged,
            sizes that contradict one another, or a pickle that names a foreign global.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(len(_LEGACY_MAGIC))
        with zipfile.ZipFile(path) as archive:
            return _read_archive(archive, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {_EXPECTED}") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, KeyError):
        raise InputError(f"{path}: {_describe_head(head)}; {_EXPECTED}") from None


def _describe_head(head: bytes) -> str:
    if head == _LEGACY_MAGIC:
        return "the format of torch before 1.6 (load and save it once with a newer torch)"
    if head.startswith(b"PK"):
        return "a truncated or damaged zip archive (copy it again)"
    return "an empty file" if not head else "not a zip archive"


def _read_archive(archive: zipfile.ZipFile, path: Path) -> Record:
    entries = {entry.filename: entry for entry in archive.infolist()}
    _check_entries(archive.infolist(), path)
    pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise InputError(f"{path}: a zip archive with {len(pickles)} data.pkl; {_EXPECTED}")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in entries:
        raise InputError(f"{path}: a TorchScript archive; {_EXPECTED}")
    if f"{root}byteorder" in entries and archive.read(f"{root}byteorder") != b"little":
        raise InputError(f"{path}: byte order is not little; save it on such a machine")

    storages: dict[str, np.ndarray] = {}

    def load_storage(identifier) -> np.ndarray:
        key, dtype, count = _parse_storage(identifier, path)
        if key not in storages:
            name = f"{root}data/{key}"
            held = entries[name].file_size if name in entries else -1
            if held != count * dtype.itemsize:
                raise InputError(
                    f"{path}: {name} should hold {count} numbers of type {dtype}, "
                    f"has {max(held, 0)} bytes; copy the file again"
                )
            storages[key] = np.frombuffer(archive.read(name), dtype)
        elif storages[key].dtype != dtype or storages[key].size != count:
            raise InputError(f"{path}: storage '{key}' is used with two types; file is damaged")
        return storages[key]

    result = read_records(archive.read(pickles[0]), VOCABULARY, load_storage, str(path))
    if not isinstance(result, Record):
        raise InputError(f"{path}: holds a {type(result).__name__}, not a model; {_EXPECTED}")
    return result


def _check_entries(entries, path: Path):
    """Checks that the stated sizes fit in the file: torch never compresses its archives."""
    stated = 0
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise InputError(f"{path}: {entry.filename} is compressed; {_EXPECTED}")
        stated += entry.file_size
    if stated > path.stat().st_size:
        raise InputError(f"{path}: entries of {stated} bytes in a smaller file; {_EXPECTED}")


def _parse_storage(identifier, path: Path) -> tuple[str, np.dtype, int]:
    """Key, type and length from ('storage', type, key, location, length)."""
    if isinstance(identifier, tuple) and len(identifier) == 5 and identifier[0] == "storage":
        _, kind, key, _, count = identifier
        known = isinstance(kind, Global) and kind.name in _STORAGES
        if known and type(key) is str and type(count) is int and count >= 0:
            return key, np.dtype(_STORAGES[kind.name]), count
    raise InputError(f"{path}: a persistent id that is no tensor storage; {_EXPECTED}")
