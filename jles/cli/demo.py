"""`jles demo`: learns hidden point charges, from making the data to pictures."""


def run(arguments) -> None:
    """Runs the demo into `--out`."""
    from jles.demo.run import run_demo

    run_demo(arguments.out, arguments.dtype)
