"""Molecular dynamics with and without an electric field."""

from jles.dynamics.config import MdConfig as MdConfig
from jles.dynamics.run import run_md as run_md
