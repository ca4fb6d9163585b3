"""Hooks of MkDocs: generated pages, pages from outside docs/, and equations as MathML."""

import html
import posixpath
import re
import sys
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tools" / "site")]

import commands_page  # noqa: E402
import keys_page  # noqa: E402
import python_pages  # noqa: E402

# Pages of the site whose text stands elsewhere in the repository.
ELSEWHERE = {
    "experiments/README.md": "results.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
# Files that pages link to, served as they are.
SERVED = ("pyproject.toml", "constraints.txt", "CITATION.cff", "LICENSE")
_LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=(?:#[^)\s]*)?\))")


def on_files(files, config):
    """Adds generated pages and what stands outside docs/."""
    pages = {
        "reference/commands.md": commands_page.page(),
        "reference/keys.md": keys_page.page(),
        **python_pages.pages(),
    }
    for place, name in ELSEWHERE.items():
        if (ROOT / place).exists():
            pages[name] = (ROOT / place).read_text(encoding="utf-8")
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    for path in _served():
        name = str(path.relative_to(ROOT))
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def _served():
    yield from (ROOT / name for name in SERVED)
    yield from sorted((ROOT / "experiments" / "pictures").glob("*.png"))
    yield from sorted((ROOT / "experiments" / "configs").glob("*.yaml"))


def on_page_markdown(markdown, page, config, files):
    """Turns links of the repository into links of the site."""
    place = _place_of(page.file.src_uri)
    here = posixpath.dirname(page.file.src_uri)

    def moved(match):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(place), match.group(1)))
        return posixpath.relpath(_page_of(target), here or ".")

    return _LINK.sub(moved, markdown)


def _place_of(name: str) -> str:
    """Where in the repository the text of a page stands."""
    for place, page in ELSEWHERE.items():
        if page == name:
            return place
    return f"docs/{name}"


def _page_of(place: str) -> str:
    """The page or file of the site for a file of the repository."""
    if place == "README.md":
        return "index.md"
    return ELSEWHERE.get(place, place.removeprefix("docs/"))


_MATH = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
_TAG = re.compile(r"\\tag\{([^}]*)\}")


def on_page_content(content, page, config, files):
    """Turns equations into MathML, which browsers show without a script."""
    return _MATH.sub(lambda match: _mathml(match, page.file.src_uri), content)


def _mathml(match, where) -> str:
    from latex2mathml.converter import convert

    latex = html.unescape(match.group(2)).strip()
    tag = _TAG.search(latex)
    latex = _TAG.sub("", latex).strip().rstrip(".,;")
    display = match.group(1) == "div"
    try:
        found = convert(latex, display="block" if display else "inline")
    except Exception as error:
        raise PluginError(f"{where}: equation {latex!r}: {error!r}") from error
    if not display:
        return found
    number = f'<span class="number">({tag.group(1)})</span>' if tag else ""
    return f'<div class="equation">{found}{number}</div>'


_SHIM = re.compile(r"https://unpkg\.com/iframe-worker/shim")


def on_post_page(output, page, config):
    """Takes the script that searches in files from the site instead of the network."""
    script = posixpath.relpath("file-search.js", posixpath.dirname(page.url) or ".")
    return _SHIM.sub(script, output)


def on_post_template(output, template_name, config):
    """The same for the page of missing addresses, which is served from any folder."""
    return _SHIM.sub("/file-search.js", output) if template_name == "404.html" else output
