"""A search played without workers: its jobs run in an order of chance, and a formula says what each is worth."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from experiments.halving import Found, Job, Outcome, Player


def play(
    rule: Any, outcome: Callable[[Job], Outcome], known: dict[str, Outcome] | None, cores: int, shuffle: int
) -> tuple[Found, list[Job]]:
    """Plays ``rule`` on so many cores to its end; what it found and the jobs that were run, in that order."""
    player, chance, ran, out = Player(rule, known or {}), random.Random(shuffle), [], []
    while player.found is None:
        while len(out) < cores and (job := player.next()):
            out.append(job)
        job = out.pop(chance.randrange(len(out)))
        ran.append(job)
        player.take(outcome(job))
    return player.found, ran
