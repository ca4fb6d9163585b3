"""No page names a command, option, key, file or function that does not exist."""

import re

import pytest
import yaml

from jles.cli.main import build_parser
from jles.cli.parser import add_everything
from jles.distill.config import DistillConfig
from jles.dynamics.config import MdConfig
from jles.predict.model import Model
from jles.predict.prediction import Prediction
from jles.quantities.catalogue import QUANTITIES
from jles.train.config import TrainConfig
from tests.support.pages import (
    PAGES,
    blocks,
    command_lines,
    fits,
    inline,
    knows,
    records_within,
    resolve,
)
from tests.support.paths import ROOT

RECORDS = records_within(TrainConfig, MdConfig, DistillConfig)
# Options of other programs that pages mention.
FOREIGN_OPTIONS = {
    "--smoke",
    "--benchmark-only",
    "--xla_cpu_use_fusion_emitters",
    "--xla_backend_optimization_level",
    "--strict",
}
SUFFIXES = {"csv", "extxyz", "h5", "json", "log", "md", "png", "py", "txt", "xyz", "yaml"}
ASIDES = [name for quantity in QUANTITIES.values() for name in quantity.asides]
PYTHON = {
    "model": [*dir(Model), "params", "potential"],
    "out": [*QUANTITIES, *ASIDES, *dir(Prediction), "notes", "values"],
}
"""Attributes of variables in examples whose names are also keys."""
SCRIPT_OPTIONS = re.compile(r'"(--[a-z][a-z-]*)"')

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@pytest.fixture(scope="module")
def parser():
    return add_everything(build_parser())


def options_of(parser):
    """Option strings of a command and all commands below it."""
    found = {text for action in parser._actions for text in action.option_strings}
    return found.union(*(options_of(inner) for inner in parser.subcommands().values()))


def script_options():
    folders = [ROOT / "experiments", ROOT / "benchmarks"]
    texts = [path.read_text() for folder in folders for path in folder.glob("*.py")]
    return {option for text in texts for option in SCRIPT_OPTIONS.findall(text)}


@pages
def test_commands_and_their_options_exist(page, parser):
    lines = command_lines(page.read_text(encoding="utf-8"))
    assert [line for line in lines if not is_a_command(line, parser)] == []


def is_a_command(line, parser):
    """Whether `jles` knows the command and its options; words in capitals stand for others."""
    known, command, words = options_of(parser), parser, line.split()[1:]
    while words and (inner := command.subcommands()):
        word = words.pop(0)
        if word.isupper() or word.startswith("-"):
            words = [] if word.isupper() else words
            continue
        if word not in inner:
            return False
        command = inner[word]
        known = options_of(command)
    if "--options" in words:  # what follows goes to LAMMPS
        del words[words.index("--options") + 1 :]
    return all(word in known for word in words if re.fullmatch(r"--?[a-z][\w-]*", word))


@pages
def test_options_named_alone_exist(page, parser):
    known = options_of(parser) | script_options() | FOREIGN_OPTIONS
    named = [code.split("=")[0].split()[0] for code in inline(page.read_text("utf-8")) if code]
    assert [n for n in named if re.fullmatch(r"--[a-z][\w-]*", n) and n not in known] == []


@pages
def test_python_names_exist(page):
    text = page.read_text(encoding="utf-8")
    code = "\n".join([*blocks(text, "python", "py"), *inline(text)])
    names = set(re.findall(r"(?<![\w./-])jles(?:\.[A-Za-z_]\w*)+", code))
    for module, imported in re.findall(r"from (jles[\w.]*) import ([\w, ]+)", code):
        names |= {f"{module}.{name.split(' as ')[0].strip()}" for name in imported.split(",")}
    missing = []
    for name in sorted(names):
        try:
            resolve(name)
        except AttributeError:
            missing.append(name)
    assert missing == []


@pages
def test_keys_exist(page):
    """Keys of examples in YAML, and dotted keys in prose."""
    text = page.read_text(encoding="utf-8")
    wrong = []
    for block in blocks(text, "yaml"):
        values = yaml.safe_load(block)
        if not any(fits(record, values) for record in RECORDS):
            wrong.append(block)
    for code in inline(text):
        if not re.fullmatch(r"[a-z_]+(\.[a-z_]+)+(: .*|=.*)?", code):
            continue
        path = re.split(r"[:=]", code)[0].split(".")
        starts = [record for record in RECORDS if path[0] in record.__struct_fields__]
        if not starts or path[-1] in SUFFIXES or path[1] in PYTHON.get(path[0], ()):
            continue
        if not any(knows(record, path) for record in starts):
            wrong.append(code)
    assert wrong == []


@pages
def test_files_exist(page):
    folders = r"(?:docs|tests|experiments|jles|tools|benchmarks)"
    found = re.findall(
        rf"(?<![\w/.-]){folders}/[\w/-]+\.(?:md|py|yaml|sh|png)", page.read_text("utf-8")
    )
    assert [name for name in found if not (ROOT / name).exists()] == []
