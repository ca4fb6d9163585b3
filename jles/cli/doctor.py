"""`jles doctor`: what is installed, and whether it computes correctly."""

from argparse import Namespace
from collections.abc import Iterable

from jles.doctor.machine import Finding, devices, folders, packages, settings

_WIDTH = 40


def run(arguments: Namespace) -> int:
    """Prints a report for a bug report; the status is 1 if something is wrong."""
    from jles.data.sets import data_folder

    sections = {
        "versions": packages,
        "devices": devices,
        "settings": settings,
        "folders": lambda: folders(data_folder()),
    }
    problems = []
    for title, findings in sections.items():
        print(title)
        try:
            problems += _print_all(findings())
        except ImportError as error:
            problems.append(f"{title}: {error}; install jles with pip")
    if not problems and not arguments.no_self_test:
        problems += _self_test()
    print()
    for problem in problems:
        print(f"problem: {problem}")
    if not problems:
        print("everything is in order")
    return 1 if problems else 0


def _print_all(findings: Iterable[Finding]) -> list[str]:
    """Prints findings, and returns the problems among them."""
    problems = []
    for finding in findings:
        print(f"  {finding.name:<{_WIDTH}} {finding.value}")
        problems += [finding.problem] if finding.problem else []
    return problems


def _self_test() -> list[str]:
    from jles.doctor.self_test import self_test

    problems = []
    print("self-test (deviation, bound, seconds)")
    for check in self_test():
        result = "ok" if check.passed else "FAILED"
        numbers = f"{check.error:.1e}  {check.bound:.0e}  {check.seconds:4.1f}"
        print(f"  {check.name:<{_WIDTH}} {result:<6}  {numbers}", flush=True)
        if not check.passed:
            reason = check.message or f"deviates by {check.error:.1e}, bound {check.bound:.0e}"
            problems.append(f"self-test, {check.name}: {reason}")
    return problems
