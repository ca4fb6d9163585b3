"""The reciprocal part of torch-pme's particle mesh, for the table of docs/electrostatics.md.

Needs an environment of its own with torch (CPU) and torch-pme; prints milliseconds a size for
energy with gradient in charges and positions, and for the gradient of squared forces. Boxes as
in test_lattice_sum.py; 0.7 angstrom mesh, four nodes, the package's sharpest mesh cutoff.

Run:  python benchmarks/torch_pme.py 1536 12288 98304
"""

import sys
import time

import numpy as np
import torch
import torchpme

torch.set_num_threads(2)


def box(atoms):
    edge = (atoms / 0.1003) ** (1.0 / 3.0)
    rng = np.random.default_rng(0)
    charges = rng.normal(size=atoms)
    charges -= charges.mean()
    arrays = charges[:, None], rng.uniform(0.0, edge, (atoms, 3)), np.eye(3) * edge
    return [torch.tensor(array, dtype=torch.float32) for array in arrays]


def main():
    potential = torchpme.CoulombPotential(smearing=1.0)
    calculator = torchpme.PMECalculator(potential, mesh_spacing=0.7, interpolation_nodes=4)
    for atoms in map(int, sys.argv[1:]):
        charges, positions, cell = box(atoms)

        def energy(order, charges=charges, positions=positions, cell=cell):
            q = charges.clone().requires_grad_(True)
            r = positions.clone().requires_grad_(True)
            value = torch.sum(q * calculator._compute_kspace(q, cell, r))
            gradient = torch.autograd.grad(value, (q, r), create_graph=order == 2)
            if order == 2:
                torch.autograd.grad(torch.sum(gradient[1] ** 2), (q, r))

        for order in (1, 2):
            energy(order)
            times = []
            for _ in range(3):
                start = time.perf_counter()
                energy(order)
                times.append(time.perf_counter() - start)
            print(
                f"{atoms} atoms, order {order}: {1e3 * min(times):.1f} ms",
                flush=True,
            )


if __name__ == "__main__":
    main()
