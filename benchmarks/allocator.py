"""What keeping memory between steps gives: the same step in two processes, of which one keeps its pages, visited in turn.

``python -m benchmarks.allocator`` writes benchmarks/out/allocator.json, with process CPU time on one thread.
"""

from __future__ import annotations

import argparse
import resource
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import NamedTuple

import torch

from benchmarks.peers import ours
from benchmarks.rows import Row, compare, publish
from benchmarks.step import BETAS, LR, SHAPES, WEIGHT_DECAY, Shape, images, step_of
from mae_core.training.allocator import keep_pages
from mae_core.training.optim import adamw, param_groups, set_lr
from mae_core.training.precision import choose_precision


class Taken(NamedTuple):
    """By one step."""

    seconds: float
    faults: int
    """Pages asked for."""


def serve(calls: Connection, shape: Shape, keep: bool) -> None:
    """Takes a step whenever it is asked to, until it is told to end."""
    torch.set_num_threads(1)
    if keep and not keep_pages():
        raise RuntimeError("this C library has no setting that keeps pages")
    peer = ours(shape.config())
    optimizer = adamw(param_groups(peer.module, WEIGHT_DECAY), BETAS)
    set_lr(optimizer, LR)
    step = step_of(peer, optimizer, images(shape, shape.batch), choose_precision("auto", torch.device("cpu")))
    while calls.recv():
        before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.process_time()
        step()
        seconds = time.process_time() - begun
        calls.send(Taken(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before))


def measure(name: str, shape: Shape, rounds: int, command: str) -> Row:
    """The row of one shape; the first two steps of either process are not counted."""
    context = get_context("spawn")
    found: dict[bool, list[Taken]] = {True: [], False: []}
    lines: dict[bool, Connection] = {}
    processes = []
    for keep in found:
        lines[keep], theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(theirs, shape, keep), daemon=True))
        processes[-1].start()
    for number in range(rounds + 2):
        for keep, line in lines.items():
            line.send(True)
            taken = line.recv()
            if number >= 2:
                found[keep].append(taken)
    for line in lines.values():
        line.send(False)
    for process in processes:
        process.join()
    kept, as_it_is = found[True], found[False]
    label = f"{name}_pages_kept_vs_given_back_cpu_s_per_step"
    row = compare(label, [one.seconds for one in kept], [one.seconds for one in as_it_is], command)
    assert row.ratio is not None
    faults = {"ours_faults": kept[-1].faults, "baseline_faults": as_it_is[-1].faults}
    return row._replace(facts={"times_as_fast": 1 / row.ratio, **faults})


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    command = f"python -m benchmarks.allocator --shapes {' '.join(given.shapes)} --rounds {given.rounds}"
    publish("allocator", [measure(name, SHAPES[name], given.rounds, command) for name in given.shapes])


if __name__ == "__main__":
    main()
