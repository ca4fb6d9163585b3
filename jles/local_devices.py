"""The devices of one process: the key `parallel` of a run, and how they are found."""

from typing import Literal

from jles.config import Config, count
from jles.errors import ConfigError

MANY = 2**20
DeviceCount = count(MANY) | Literal["all"]


class LocalDevices(Config, tag_field="kind", tag="local"):
    """Devices of this process."""

    devices: DeviceCount = "all"


def devices_of(process: int, wanted: int | Literal["all"]) -> list:
    """The first `jax.Device` of a process.

    Args:
        process: its index in JAX.
        wanted: how many, or "all".

    Raises:
        InputError: the process has fewer of them.
    """
    import jax

    own = [device for device in jax.devices() if device.process_index == process]
    number = len(own) if wanted == "all" else wanted
    if number > len(own):
        where = f"process {process}" if jax.process_count() > 1 else "this process"
        raise ConfigError(_too_few(own, number, where))
    return own[:number]


def _too_few(own, wanted: int, where: str) -> str:
    have = f"{len(own)} ({own[0].platform})" if own else "none"
    hint = (
        f"; XLA_FLAGS=--xla_force_host_platform_device_count={wanted} makes so many of a CPU"
        if own and own[0].platform == "cpu"
        else ""
    )
    return f"parallel.devices: {wanted} asked for, {where} has {have}{hint}"
