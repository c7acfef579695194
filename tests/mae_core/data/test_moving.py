"""Moving digits: reproducible, true to their labels, and never the same digit in two splits."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from mae_core.data.sources import SourceError, moving
from mae_core.data.sources.moving import DIRECTIONS, FREE, SPEEDS, Motion, drawn, film, read
from mae_core.data.sources.package import read as read_digits
from mae_core.data.split import digests, stratified

ROOM = 18


@pytest.fixture(scope="module")
def digits():
    return read_digits(Path())


@pytest.fixture
def make(digits, monkeypatch):
    """``read`` of digits that were read once: parsing the package's table takes seconds."""
    monkeypatch.setattr(moving, "read_digits", lambda folder: digits)
    return partial(read, Path(), frames=6, copies=1)


def test_the_same_clips_under_three_labels(make):
    sources = {label: make(label) for label in ("direction", "speed", "digit")}
    first = sources["direction"]
    assert [(part.name, part.samples.shape) for part in first.parts] == [
        ("train", (3600, 1, 6, 32, 32)), ("validation", (400, 1, 6, 32, 32)), ("test", (1000, 1, 6, 32, 32)),
    ]  # fmt: skip
    assert {label: len(source.classes) for label, source in sources.items()} == {
        "direction": 8,
        "speed": 3,
        "digit": 10,
    }
    for source in (*sources.values(), make()):
        assert all(np.array_equal(a.samples, b.samples) for a, b in zip(source.parts, first.parts))
        assert source.notes[0].startswith("synthetic: real digits, motion made here")
    other = make(seed=1)
    assert not np.array_equal(other.parts[0].samples, first.parts[0].samples)


def test_digits_of_a_split_are_those_of_mnist5k(make, digits):
    """Each clip shows a digit of its own split, shrunk, whatever its motion."""
    whole = digits.parts[0]
    cut = stratified(digests(whole.samples), whole.labels, {"validation": 400, "test": 1000}, "train")
    for part in make("digit").parts:
        rows = cut[part.name]
        assert [name.split(",")[0] for name in part.names] == [whole.names[i] for i in rows]
        assert np.array_equal(part.labels, whole.labels[rows])
        ink = part.samples[:, 0, 0].sum((1, 2)) - whole.samples[rows, 0].sum((1, 2)) / 4
        assert np.abs(ink).max() < 14 * 14


def test_labels_say_how_a_digit_starts():
    motion = drawn(torch.arange(500), ROOM, seed=3)
    path = motion.path(16, ROOM)
    assert (path >= 0).all() and (path <= ROOM + 1e-4).all()
    steps = path[:, 1:FREE] - path[:, : FREE - 1]
    speed = torch.tensor(SPEEDS)[motion.speed]
    torch.testing.assert_close(steps.norm(dim=2), speed[:, None].expand(-1, FREE - 1), atol=1e-4, rtol=0)
    angle = torch.atan2(steps[:, 0, 0], steps[:, 0, 1]) / (2 * torch.pi / len(DIRECTIONS))
    assert torch.equal(angle.round().long() % len(DIRECTIONS), motion.direction)
    assert len(motion.direction.unique()) == 8 and len(motion.speed.unique()) == 3


def test_a_digit_bounces():
    """Down from row 14 at 3 pixels a frame in 18 rows of room."""
    motion = Motion(torch.tensor([DIRECTIONS.index("down")]), torch.tensor([2]), torch.tensor([[14.0, 5.0]]))
    path = motion.path(6, ROOM)[0]
    assert path[:, 0].tolist() == pytest.approx([14, 17, 16, 13, 10, 7], abs=1e-4)
    assert path[:, 1].tolist() == pytest.approx([5] * 6, abs=1e-4)


def test_films_show_the_sprite_where_it_is():
    sprite = torch.arange(1, 5).float().view(1, 2, 2) * 60
    shown = film(sprite, torch.tensor([[[1.0, 2.0], [0.5, 0.0]]]), 5)
    assert shown.shape == (1, 2, 5, 5) and torch.equal(shown[0, 0, 1:3, 2:4], sprite[0].to(torch.uint8))
    assert int(shown[0, 0].sum()) == int(sprite.sum())
    assert shown[0, 1, :3, 0].tolist() == [30, 120, 90], "half a pixel lower"


@pytest.mark.parametrize("options", [{"label": "colour"}, {"side": 20}, {"frames": 1}, {"copies": 0}])
def test_options_that_make_no_sense(tmp_path, options):
    with pytest.raises(SourceError):
        read(tmp_path, **options)
