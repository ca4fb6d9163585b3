"""Pages are readable as text: prose wraps at 96 columns, and links lead to files."""

import re

import pytest

from tests.support.paths import ROOT

WIDTH = 96
PAGES = sorted(
    [
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "jles").rglob("README.md"),
        *(ROOT / name for name in ("README.md", "CHANGELOG.md")),
        *(ROOT / folder / "README.md" for folder in ("benchmarks", "experiments", "tests")),
    ]
)


def prose(text):
    """Lines with their numbers, without tables, code and displayed equations."""
    in_code = in_equation = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            in_code = not in_code
        elif in_code or line.startswith("|"):
            continue
        elif in_equation or line.startswith("$$"):
            in_equation = (line.count("$$") % 2 == 1) != in_equation
        else:
            yield number, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_wraps(page):
    lines = prose(page.read_text(encoding="utf-8"))
    assert [number for number, line in lines if len(line) > WIDTH] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^):#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    # Pages of docs/reference are generated; building the site checks links to them.
    links = [link for link in links if "reference/" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
