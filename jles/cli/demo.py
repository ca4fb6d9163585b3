"""`jles demo`: the main job, from making data to pictures."""


def run(arguments) -> None:
    """Runs the demo into `--out`."""
    from jles.demo.run import run_demo

    run_demo(arguments.out, arguments.dtype)
