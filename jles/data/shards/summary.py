"""A data set in shards, in a few lines."""

from ase.data import chemical_symbols

from jles.data.shards.layout import Index


def summary(folder, index: Index) -> list[str]:
    """Frames, elements, labels and neighbours, from the index alone."""
    columns = index.columns
    atoms = int(columns.atoms.sum())
    size = sum(size for _, size, _ in index.shards)
    labels = {
        name: int((columns.labels >> bit & 1).sum()) for bit, name in enumerate(index.labels)
    }
    neighbors = ", ".join(
        f"{edges / atoms:.1f} ({cutoff:g})"
        for cutoff, edges in zip(index.cutoffs, columns.edges.sum(axis=0), strict=True)
    )
    span = f"{columns.atoms.min()} to {columns.atoms.max()} in a frame"
    held = f"{len(index.shards)} shards, {size / 2**20:.1f} MiB"
    return [
        f"{folder}: {len(index)} frames, {atoms} atoms ({span}), {held}",
        f"elements: {', '.join(chemical_symbols[z] for z in index.elements)}",
        f"labels: {', '.join(f'{name} {count}' for name, count in labels.items() if count)}",
        f"neighbours of an atom (within angstrom): {neighbors}",
    ]
