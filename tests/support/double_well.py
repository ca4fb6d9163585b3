"""A double well in a field that is cycled slowly: its loop in closed form."""

import numpy as np

A, B = 0.02, 4.0
"""Double well U = -A p^2/2 + B p^4/4 - E p; p in e/angstrom^2, E in V/angstrom."""
SPINODAL = np.sqrt(A / (3.0 * B))
COERCIVE = 2.0 / 3.0 * A * SPINODAL
REMANENT = np.sqrt(A / B)


def triangle(amplitude, cycles, points):
    """From zero up, down through zero, and back, `cycles` times."""
    corners = np.concatenate([[0.0], np.tile([1.0, -1.0], cycles), [0.0]])
    times = np.arange(len(corners)) * 2.0 - 1.0
    times[0] = 0.0
    times[-1] = times[-2] + 1.0
    grid = np.linspace(0.0, times[-1], points * 2 * cycles + 1)
    return amplitude * np.interp(grid, times, corners)


def quasi_static(field):
    """The minimum of U that is followed until it is lost, then the other one."""
    dipole, found = REMANENT, []
    for value in field:
        roots = np.roots([B, 0.0, -A, -value])
        roots = np.sort(roots[np.abs(roots.imag) < 1e-7].real)
        branch = roots[-1] if dipole > 0.0 else roots[0]
        is_lost = branch * dipole < 0.0 or abs(branch) < SPINODAL * 0.999
        dipole = (roots[0] if dipole > 0.0 else roots[-1]) if is_lost else branch
        found.append(dipole)
    return np.array(found)


def area_in_closed_form():
    """Energy lost in a cycle: twice that of one switching."""

    def well(p):
        return -0.5 * A * p**2 + 0.25 * B * p**4

    return 2.0 * (3.0 * COERCIVE * SPINODAL + well(SPINODAL) - well(2.0 * SPINODAL))
