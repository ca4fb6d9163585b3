"""Checkpoints of a run with orbax: the last state, to go on from, and the best parameters."""

from pathlib import Path

import jax

from jles.errors import InputError


class Checkpoints:
    """`last/` (everything a resumed run needs) and `best/` (parameters) under a run's directory.

    orbax writes under a temporary name and renames: a killed or failed save leaves the one
    before it whole.
    """

    def __init__(self, directory: Path):
        self._directory = Path(directory).resolve()

    def _manager(self, name: str):
        import orbax.checkpoint as ocp

        options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
        return ocp.CheckpointManager(self._directory / name, options=options)

    def save(self, name: str, step: int, tree, host: dict) -> None:
        """Writes the arrays `tree` and the plain values `host` as checkpoint `name` of `step`.

        Raises:
            InputError: the disk is full or the place cannot be written; the checkpoint before
                stays.
        """
        import orbax.checkpoint as ocp

        arguments = ocp.args.Composite(
            tree=ocp.args.StandardSave(tree), host=ocp.args.JsonSave(host)
        )
        try:
            with self._manager(name) as manager:
                manager.save(step, args=arguments, force=True)
        except Exception as error:  # orbax and tensorstore raise what they please
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{self._directory / name / str(step)}: checkpoint cannot be written ({reason}); "
                "the one before is intact: free some space and --resume"
            ) from error

    def exists(self, name: str) -> bool:
        """Whether there is a finished checkpoint `name`."""
        if not (self._directory / name).is_dir():
            return False
        with self._manager(name) as manager:
            return manager.latest_step() is not None

    def restore(self, name: str, template):
        """The newest (tree, host) called `name`; `template` gives shapes and dtypes.

        Raises:
            InputError: there is none, it is damaged, or it belongs to another model.
        """
        import orbax.checkpoint as ocp

        place = self._directory / name
        if not self.exists(name):
            raise InputError(f"{place}: no finished checkpoint")
        with self._manager(name) as manager:
            step = manager.latest_step()
            shapes = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
            arguments = ocp.args.Composite(
                tree=ocp.args.StandardRestore(shapes), host=ocp.args.JsonRestore()
            )
            try:
                restored = manager.restore(step, args=arguments)
            except Exception as error:  # orbax and tensorstore raise what they please
                reason = " ".join(str(error).split())[:200]
                raise InputError(
                    f"{place / str(step)}: damaged, or of another model ({reason}); "
                    "start again in another --out"
                ) from error
        return restored["tree"], restored["host"]
