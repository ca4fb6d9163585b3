"""`jles data`: checks a data set, or writes it as shards."""

from argparse import Namespace

from jles.errors import InputError


def run(arguments: Namespace) -> int:
    """Checks or builds; the status is 1 if something is seriously wrong."""
    return _build(arguments) if arguments.what == "build" else _check(arguments)


def _build(arguments: Namespace) -> int:
    from jles.config import from_dict
    from jles.data.frames import LabelKeys
    from jles.data.shards.build import build_shards
    from jles.data.shards.layout import CUTOFFS
    from jles.data.shards.summary import summary

    if arguments.shard_size < 1:
        raise InputError(f"--shard-size must be at least 1 MiB, got {arguments.shard_size}")
    keys = from_dict(LabelKeys, dict(arguments.labels), "--labels")
    index = build_shards(
        arguments.files,
        arguments.out,
        keys,
        arguments.cutoff or CUTOFFS,
        arguments.shard_size * 2**20,
        need=tuple(dict(arguments.labels)),
    )
    print("\n".join(summary(arguments.out, index)))
    return 0


def _check_shards(folders) -> int:
    from jles.data.shards.stored import StoredFrames
    from jles.data.shards.summary import summary

    for folder in folders:
        stored = StoredFrames(folder)
        stored.check()
        print("\n".join(summary(folder, stored.index)))
        print("all checksums are right")
    return 0


def _check(arguments: Namespace) -> int:
    from jles.config import from_dict
    from jles.data.check.report import picture, text
    from jles.data.check.run import check_data
    from jles.data.frames import LabelKeys
    from jles.data.shards.layout import is_shards

    shards = [file for file in arguments.files if is_shards(file)]
    if shards:
        if len(shards) < len(arguments.files) or arguments.out:
            raise InputError(
                f"{shards[0]}: shards cannot be checked beside other files or shown in a "
                "picture; check them alone, or the files that they were built from"
            )
        return _check_shards(shards)
    keys = from_dict(LabelKeys, dict(arguments.labels), "--labels")
    out = arguments.out
    if out is not None and not out.endswith((".png", ".pdf", ".svg")):
        raise InputError(f"{out}: the name of a picture must end in .png, .pdf or .svg")
    check = check_data(arguments.files, keys)
    for line in text(check):
        print(line)
    print()
    for remark in check.remarks:
        print(f"{'problem' if remark.serious else 'doubt'}: {remark.text}")
    if not check.remarks:
        print("nothing is wrong or doubtful")
    if out is not None and check.frames:
        picture(out, check)
        print(f"picture: {out}")
    return 1 if check.serious else 0
