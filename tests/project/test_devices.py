"""The page on devices and export runs on four devices, and sharding changes no result."""

import os
import re
import subprocess
import sys

from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def on_four_devices(*arguments):
    """Runs Python with a CPU that appears as four devices; what it printed."""
    flags = "--xla_backend_optimization_level=0 --xla_force_host_platform_device_count=4"
    environment = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_every_block_runs_on_four_devices(tmp_path):
    script = tmp_path / "page.py"
    check = "\nassert jax.device_count() == 4\n"
    script.write_text("\n\n".join(BLOCKS) + check, encoding="utf-8")
    on_four_devices(script)
