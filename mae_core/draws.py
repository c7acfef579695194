"""Every random number of MAEstro: a pure function of (seed, step, sample id, stream).

Counter-based (a splitmix64 finaliser over the four, Steele, Lea & Flood 2014), so no generator state has to be carried, saved or
agreed on: any number of workers, and any resumed run, draw exactly what one unbroken worker would.
"""

from __future__ import annotations

import hashlib
from functools import reduce
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_M1, _M2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _signed(value: int) -> int:
    """The int64 with the bits of an unsigned 64-bit ``value``."""
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _mix_int(z: int) -> int:
    z = ((z ^ (z >> 30)) * _M1) & _MASK
    z = ((z ^ (z >> 27)) * _M2) & _MASK
    return z ^ (z >> 31)


def _word(part: int | str) -> int:
    """The unsigned 64 bits that a part of a key stands for."""
    if isinstance(part, str):
        return int.from_bytes(hashlib.blake2b(part.encode(), digest_size=8).digest(), "little")
    return int(part) & _MASK


def _mix(z: Tensor) -> Tensor:
    """splitmix64's finaliser on int64 bits; ``>>`` is arithmetic in torch, so the sign bits are masked away."""
    z = (z >> 30).bitwise_and_((1 << 34) - 1).bitwise_xor_(z).mul_(_signed(_M1))
    z = (z >> 27).bitwise_and_((1 << 37) - 1).bitwise_xor_(z).mul_(_signed(_M2))
    return (z >> 31).bitwise_and_((1 << 33) - 1).bitwise_xor_(z)


def key(*parts: int | str) -> int:
    """An unsigned 64-bit key of integers and names, the same on every machine."""
    return reduce(lambda state, part: _mix_int((state + _GOLDEN + _word(part)) & _MASK), parts, 0)


class Draws(NamedTuple):
    """The random numbers of one batch at one step."""

    seed: int
    step: int
    ids: Tensor
    """(B,) long: the identity of each sample within its dataset."""
    clock: Tensor | None = None
    """() long: the step once more, where it is to be read on the device, when the numbers are drawn: a captured graph draws anew then."""
    look: int = 0
    """Which of a step's masks of the same samples it is; what is shared by the batch is shared by all of them."""

    def apart(self, name: str) -> Draws:
        """Other numbers for the same samples: everything that is drawn once, drawn again."""
        return self._replace(seed=key(self.seed, name))

    def uniform(self, stream: str, *shape: int) -> Tensor:
        """(B, *shape) float32 in [0, 1), independent between streams, samples and positions."""
        rows = _mix(_mix(self.ids.long() * _signed(_GOLDEN) + self._base(stream)))
        columns = torch.arange(1, prod(shape) + 1, device=self.ids.device) * _signed(_GOLDEN)
        bits = _mix(rows[:, None] + columns)
        return (bits >> 40).bitwise_and_(0xFFFFFF).float().div_(1 << 24).reshape(len(self.ids), *shape)

    def _base(self, stream: str) -> int | Tensor:
        """``key(seed, step, stream)`` as int64 bits, of the later looks by a stream of their own."""
        stream = f"{stream}, look {self.look}" if self.look else stream
        if self.clock is None:
            return _signed(key(self.seed, self.step, stream))
        timed = _mix(self.clock + _signed(key(self.seed) + _GOLDEN))
        return _mix(timed + _signed(_GOLDEN + _word(stream)))

    def shared(self, stream: str) -> float:
        """One number in [0, 1) that the whole batch, on every worker, agrees on."""
        return (key(self.seed, self.step, stream, "shared") >> 11) / (1 << 53)


def permutation(n: int, *parts: int | str) -> Tensor:
    """(n,) long: a shuffle of ``range(n)`` that depends on ``parts`` alone."""
    generator = torch.Generator().manual_seed(_signed(key(*parts)) & (_MASK >> 1))
    return torch.randperm(n, generator=generator)
