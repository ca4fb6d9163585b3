"""Equations of docstrings, which are written for Sphinx, as those of the pages."""

import re
import textwrap

import griffe

# The rest of the line, then lines that are indented further, with empty lines among them.
_MORE = r"\n(?:\1[ \t]+\S.*|[ \t]*(?=\n\1[ \t]+\S))"
_BLOCK = re.compile(rf"(?m)^([ \t]*)\.\. math::[ \t]*(.*(?:{_MORE})*)")
_INLINE = re.compile(r":math:`([^`]*)`", re.DOTALL)


class DocstringMath(griffe.Extension):
    """Rewrites `.. math::` and `:math:` of every docstring."""

    def on_instance(self, *, obj, **options):
        """Called for every object that is read."""
        if obj.docstring:
            obj.docstring.value = converted(obj.docstring.value)


def converted(text: str) -> str:
    """The text with equations between dollar signs."""
    text = _BLOCK.sub(_block, text)
    return _INLINE.sub(lambda match: f"${' '.join(match.group(1).split())}$", text)


def _block(match) -> str:
    indent, body = match.groups()
    lines = " ".join(textwrap.dedent(body).split())
    return f"{indent}\n{indent}$$\n{indent}{lines}\n{indent}$$\n"
