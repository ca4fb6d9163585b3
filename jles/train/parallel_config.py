"""The section `parallel` of the training file: which devices and processes share a training."""

from typing import Annotated, Literal

from msgspec import Meta

from jles.config import Config, count
from jles.errors import ConfigError
from jles.local_devices import MANY, DeviceCount, LocalDevices


class ClusterProcesses(Config, tag_field="kind", tag="cluster"):
    """Processes that SLURM, MPI, Kubernetes or Cloud TPU has started, as JAX finds them.

    `launcher`: "auto", or "mpi4py" for any MPI.
    """

    devices: DeviceCount = "all"
    launcher: Literal["auto", "mpi4py"] = "auto"


class ManualProcesses(Config, tag_field="kind", tag="manual"):
    """Processes that were started by hand: `process` counts from 0 to `processes` - 1.

    `coordinator` is HOST:PORT of process 0, with a free port.
    """

    coordinator: str
    processes: count(MANY)
    process: Annotated[int, Meta(ge=0, le=MANY)]
    devices: DeviceCount = "all"

    def __post_init__(self):
        super().__post_init__()
        host, _, port = self.coordinator.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise ConfigError(
                f"coordinator: expected HOST:PORT of process 0, got {self.coordinator!r}"
            )
        if self.process >= self.processes:
            raise ConfigError(
                f"process: {self.process} of {self.processes} processes; they count from 0 to "
                f"{self.processes - 1}"
            )


ParallelConfig = LocalDevices | ClusterProcesses | ManualProcesses
