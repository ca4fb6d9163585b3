"""`jles data check`: what is in a data set, and what is doubtful about it."""

from argparse import Namespace

from jles.errors import InputError


def run(arguments: Namespace) -> int:
    """Prints the report; the status is 1 if something is seriously wrong."""
    from jles.config import from_dict
    from jles.data.check.report import picture, text
    from jles.data.check.run import check_data
    from jles.data.frames import LabelKeys

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
