"""How fast are shards read, in how much memory, and how much of a batch is padding?

Run:     python experiments/streaming.py --out results/streaming
Needs:   the sets spice-bec and dipeptides-spice for the padding; 200 MB of disk; one core,
         a few minutes. Without the sets only the throughput is measured.
Writes:  results.json; 2,000 synthetic molecules as shards, and these fifty times.
Expect:  memory that does not grow with the number of frames; at most a tenth of the atoms
         padding with sixteen shapes.
"""

import dataclasses
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
from common import SKIPPED, options, run, write_results

from jles.config import from_dict
from jles.data.frames import Frame, read_frames
from jles.data.packing import Budget, pack, waste
from jles.data.sets import data_set
from jles.data.shards.build import write_shards
from jles.data.shards.layout import INDEX, read_index, shard_name, write_index
from jles.data.shards.stored import StoredFrames
from jles.data.stream import StreamLoader
from jles.structures.neighbors import find_neighbors
from jles.structures.sizes import Size
from jles.train.config import TrainConfig
from jles.train.losses import Weights, emphasized
from jles.train.optimizer import build_optimizer
from jles.train.prepare import prepare
from jles.train.step import build_steps
from jles.train.training_frames import needed_labels

FRAMES = 2_000
TIMES = 50
CUTOFF = 5.5
SECONDS = 10


def synthetic(count):
    """Molecules of 3 to 91 atoms at the density of organic matter, with labels."""
    rng = np.random.default_rng(0)
    for n in range(count):
        atoms = int(np.clip(rng.normal(40, 18), 3, 91))
        side = int(np.ceil(atoms ** (1 / 3)))
        grid = np.stack(np.meshgrid(*[np.arange(side)] * 3), -1).reshape(-1, 3)[:atoms] * 1.9
        positions = grid + rng.uniform(-0.3, 0.3, (atoms, 3))
        numbers = rng.choice([1, 6, 7, 8], atoms, p=[0.5, 0.3, 0.1, 0.1]).astype(np.int32)
        labels = {"energy": np.array(rng.normal()), "forces": rng.normal(size=(atoms, 3))}
        frame = Frame(
            numbers, positions, np.zeros((3, 3)), np.zeros(3, bool), labels, 0.0, f"frame {n}"
        )
        yield 0, n, frame


def peak_memory():
    """Largest resident memory of this process, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def build(folder, count):
    """Shards of `count` molecules; seconds of processor time."""
    before, started = peak_memory(), time.process_time()
    write_shards(synthetic(count), folder, ["synthetic"], {}, cutoffs=(CUTOFF,))
    seconds = time.process_time() - started
    return {"frames_per_s": count / seconds, "peak_MiB": peak_memory(), "before_MiB": before}


def multiply(folder, out, times):
    """The same shards `times` times, as files of their own: large sets at little cost."""
    folder, out = Path(folder), Path(out)
    out.mkdir(parents=True)
    index = read_index(folder)
    shards, count = [], len(index.shards)
    for number in range(count * times):
        name, size, digest = index.shards[number % count]
        shutil.copyfile(folder / name, out / shard_name(number))
        shards.append((shard_name(number), size, digest))
    columns = {
        field.name: np.concatenate([getattr(index.columns, field.name)] * times)
        for field in dataclasses.fields(index.columns)
    }
    columns["shard"] = columns["shard"] + count * np.repeat(np.arange(times), len(index))
    columns = dataclasses.replace(index.columns, **columns)
    write_index(out / INDEX, dataclasses.replace(index, columns=columns, shards=tuple(shards)))
    return {"frames": len(index) * times, "MiB": sum(size for _, size, _ in shards) / 2**20}


def read(folder, limit=SECONDS):
    """Throughput of the loader alone, and its memory."""
    before = peak_memory()
    stored = StoredFrames(folder)
    started = time.perf_counter()
    loader = StreamLoader(
        stored, cutoff=CUTOFF, batch_size=Budget(4096), k_max=None, max_buckets=12
    )
    planned = time.perf_counter() - started
    frames, done, sizes = 0, 0, stored.column("atoms")
    started, wall = time.process_time(), time.perf_counter()
    for batch in loader.epoch((0, 0)):
        own = batch.frames[batch.frames >= 0]
        # Numbers, positions and forces of an atom take 49 bytes.
        frames, done = frames + len(own), done + 49 * int(sizes[own].sum())
        seconds = time.process_time() - started
        if seconds > limit:
            break
    return {
        "frames": len(stored),
        "plan_s": planned,
        "read": frames,
        "frames_per_s": frames / seconds,
        "MB_per_s": done / seconds / 1e6,
        "processor_share": seconds / (time.perf_counter() - wall),
        "peak_MiB": peak_memory(),
        "before_MiB": before,
    }


def wait(folder, limit=SECONDS):
    """The part of a training step that waits for the next batch, on this machine."""
    values = {
        "data": {"train": str(folder), "limit": 2000, "max_buckets": 2},
        "model": {"backbone": {"kind": "painn", "cutoff": CUTOFF}, "normalize_features": False},
        "epochs": 1,
        "batch_atoms": 1024,
    }
    config = from_dict(TrainConfig, values, "streaming")
    prepared = prepare(config)
    steps = build_steps(
        prepared.potential, build_optimizer(config.optimizer), needed_labels(config)
    )
    state, weights = steps.init(prepared.params), Weights(energy=10.0, forces=1.0)
    warm, waited, worked, seen = set(), 0.0, 0.0, 0
    clock = time.perf_counter()
    for batch in prepared.train_loader.epoch((0, 0)):
        taken = time.perf_counter()
        own = emphasized(weights, batch.emphasis)
        state, loss, _ = steps.train(state, batch.structure, batch.labels, own, 1e-4, 0.9)
        jax.block_until_ready(loss)
        finished = time.perf_counter()
        shape = batch.structure.positions.shape
        if shape in warm:
            waited, worked = waited + taken - clock, worked + finished - taken
            seen += int(np.sum(batch.frames >= 0))
        warm.add(shape)
        clock = time.perf_counter()
        if waited + worked > limit:
            break
    total = waited + worked
    return {"waiting": waited / total, "frames_per_s": seen / total}


def padding():
    """Padding of old and new batches for published sizes."""
    sets = {
        "spice-bec": sorted(data_set("spice-bec").glob("*.xyz")),
        "dipeptides-spice": [data_set("dipeptides-spice/train.xyz")],
    }
    found = {}
    for name, files in sets.items():
        frames = [frame for file in files for frame in read_frames(file)]
        tables = [find_neighbors(f.positions, f.cell, f.pbc, CUTOFF).mask for f in frames]
        sizes = [Size(*mask.shape) for mask in tables]
        edges = np.array([mask.sum() for mask in tables])
        found[name] = {}
        for label, how, buckets, times in (
            ("4 structures, 4 shapes", 4, 4, 1),
            ("512 atoms, 4 shapes", Budget(512), 4, 1),
            ("512 atoms, 12 shapes", Budget(512), 12, 1),
            ("4096 atoms, 12 shapes, set a hundred times", Budget(4096), 12, 100),
            ("4096 atoms, 16 shapes, set a hundred times", Budget(4096), 16, 100),
        ):
            many, all_edges = sizes * times, np.tile(edges, times)
            found[name][label] = waste(pack(many, how, buckets), many, all_edges)._asdict()
    return found


PARTS = {
    "build": build,
    "multiply": multiply,
    "read": read,
    "wait": wait,
    "padding": padding,
}


def in_process(part, *arguments):
    """A part in a process of its own, whose memory is its own."""
    command = [sys.executable, __file__, "--part", part, *map(str, arguments)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE)
    if done.returncode == SKIPPED:  # without the sets there is no padding to measure
        return None
    done.check_returncode()
    return json.loads(done.stdout)


def main(chosen):
    if chosen.part:
        name, *rest = chosen.part
        values = [int(value) if value.isdigit() else value for value in rest]
        print(json.dumps(PARTS[name](*values)))
        return
    count, seconds = (30, 1) if chosen.smoke else (FRAMES, SECONDS)
    small, large = chosen.out / "shards-small", chosen.out / "shards-large"
    file = chosen.out / "results.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    results.pop("made", None)
    for name, *arguments in (
        ("build", small, count),
        ("multiply", small, large, TIMES),
        ("read", small, seconds),
        ("read", large, seconds),
        ("padding",),
        ("wait", small, seconds),
    ):
        key = f"{name} {arguments[0].name}" if arguments else name
        if key not in results:
            results[key] = in_process(name, *arguments)
            write_results(chosen.out, results)


if __name__ == "__main__":
    parser = options(__doc__, "results/streaming")
    parser.add_argument("--part", nargs="+", help="one part alone, in this process")
    run(main, parser)
