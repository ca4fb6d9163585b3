"""The README's example gives the printed results, and the linked files exist."""

import re

from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_the_example_runs_and_prints_energy_charges_and_forces(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = EXAMPLES
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    out = names["out"]
    assert str(out.energy) in printed
    assert out.charges.shape == (3,)
    assert out.forces.shape == (3, 3)


def test_every_command_of_the_readme_is_one_that_jles_knows():
    from jles.cli.main import build_parser

    usage = build_parser().format_help()
    commands = set(re.findall(r"^jles ([a-z-]+)", README, re.MULTILINE))
    assert commands
    assert all(f" {command} " in usage or f" {command}\n" in usage for command in commands)


def test_relative_links_lead_somewhere():
    links = re.findall(r"\]\(([^):#]+)(?:#[^)]*)?\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
