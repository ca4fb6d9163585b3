"""YAML without surprises: each key once, numbers as people write them, a bounded size."""

import itertools
import re

import yaml

from jles.errors import InputError

MOST_VALUES = 100_000
"""Values in a YAML document, aliases written out."""


class _Loader(yaml.SafeLoader):
    """The safe loader, which builds plain values only; it refuses likely mistakes."""

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        _check_commas(node)
        first_lines = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line, name = key.start_mark.line + 1, (key.tag, key.value)
            if name in first_lines:
                raise InputError(
                    f"line {line}: '{key.value}' is given twice (first in line "
                    f"{first_lines[name]}); keep one"
                )
            first_lines[name] = line
        return node


_WHOLE, _DECIMALS = re.compile(r"[-+]?\d+"), re.compile(r"\d+([eE][-+]?\d+)?")


def _check_commas(node: yaml.MappingNode) -> None:
    """Refuses {cutoff: 4,0}, in which 0 would be a key without a value."""
    for (_, before), (key, value) in itertools.pairwise(node.value):
        parts = before, key, value
        if not node.flow_style or not all(isinstance(p, yaml.ScalarNode) for p in parts):
            continue
        whole, decimals, rest = (part.value for part in parts)
        if rest == "" and _WHOLE.fullmatch(whole) and _DECIMALS.fullmatch(decimals):
            raise InputError(
                f"line {key.start_mark.line + 1}: '{whole},{decimals}' is read as two keys; "
                f"write {whole}.{decimals}"
            )


# YAML 1.1 reads 1e-3 as text; people write it as a number.
_EXPONENT = re.compile(r"[-+]?(\d+|\d*\.\d+|\d+\.)[eE][-+]?\d+$")
_FIRST = list("-+.0123456789")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, _FIRST)


class _Dumper(yaml.SafeDumper):
    """The safe dumper, which quotes text that `read_yaml` would take for a number."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, _FIRST)


def to_yaml(values) -> str:
    """Plain values as text that `read_yaml` gives back."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False)


def load_yaml(text: str):
    """Plain values from YAML text.

    Raises:
        InputError: a key that is given twice, a number with a decimal comma, too many values
            with aliases written out, or values that are nested too deeply.
        yaml.YAMLError: the text is not YAML.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node, {})
        return loader.construct_document(node)
    except RecursionError:
        raise InputError("values are nested too deeply; write them flatter") from None
    finally:
        loader.dispose()


def _check_size(node: yaml.Node, sizes: dict[yaml.Node, int | None]) -> int:
    """Number of values in a node; aliases could make it infinite or exponentially large."""
    line = node.start_mark.line + 1
    if node in sizes:
        if sizes[node] is None:
            raise InputError(f"line {line}: the value contains itself; take the alias out")
        return sizes[node]
    sizes[node] = None
    parts = node.value if isinstance(node, yaml.CollectionNode) else ()
    if isinstance(node, yaml.MappingNode):
        parts = [part for pair in parts for part in pair]
    sizes[node] = size = 1 + sum(_check_size(part, sizes) for part in parts)
    if size > MOST_VALUES:
        raise InputError(
            f"line {line}: over {MOST_VALUES} values once aliases are written out; use fewer"
        )
    return size
