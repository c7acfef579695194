"""A small set of combinations in which every pair of values of any two factors occurs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product
from typing import Any

STRIDE = 7919
"""A prime larger than any number of combinations that take turns: neighbours differ in every factor, and all have their turn."""


def anything(case: Mapping[str, Any]) -> bool:
    """No combination is ruled out."""
    return True


def full(
    factors: Mapping[str, Sequence[Any]], possible: Callable[[dict[str, Any]], bool] = anything
) -> list[dict[str, Any]]:
    """Every combination that is possible."""
    every = (dict(zip(factors, values)) for values in product(*factors.values()))
    return [case for case in every if possible(case)]


def crossed(
    factors: Mapping[str, Sequence[Any]], by: Sequence[str], possible: Callable[[dict[str, Any]], bool] = anything
) -> list[dict[str, Any]]:
    """Every possible combination of the factors ``by``; the others take turns."""
    found, turn = [], 0
    others = [name for name in factors if name not in by]
    rest = [dict(zip(others, values)) for values in product(*(factors[name] for name in others))]
    for values in product(*(factors[name] for name in by)):
        for _ in rest:
            turn += STRIDE
            case = dict(zip(by, values)) | rest[turn % len(rest)]
            case = {name: case[name] for name in factors}
            if possible(case):
                found.append(case)
                break
    return found


def pairs_of(case: Mapping[str, Any], factors: Mapping[str, Sequence[Any]]) -> set[tuple[str, int, str, int]]:
    """The pairs that one combination covers, values by their place in the factor."""
    place = {name: list(factors[name]).index(value) for name, value in case.items()}
    return {(a, place[a], b, place[b]) for a, b in combinations(factors, 2)}


def pairwise(
    factors: Mapping[str, Sequence[Any]], possible: Callable[[dict[str, Any]], bool] = anything
) -> list[dict[str, Any]]:
    """Greedy: of all combinations, again and again the one that covers most pairs not covered yet, the first of equals.

    A set of pairs is a number with a bit for each, so that thousands of combinations are compared in moments.
    """
    bits: dict[tuple[str, int, str, int], int] = {}
    waiting = []
    for case in full(factors, possible):
        covered = 0
        for pair in pairs_of(case, factors):
            covered |= 1 << bits.setdefault(pair, len(bits))
        waiting.append((case, covered))
    missing = (1 << len(bits)) - 1
    chosen = []
    while missing:
        case, covered = max(waiting, key=lambda entry: (entry[1] & missing).bit_count())
        chosen.append(case)
        missing &= ~covered
    return chosen
