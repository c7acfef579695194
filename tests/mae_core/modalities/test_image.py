"""Images to cells and back, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mae_core.draws import Draws
from mae_core.modalities.image import ImageModality

SIDES = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4)).filter(
    lambda s: s[0] * s[1] > 1
)


def noise(n: int, modality: ImageModality, seed: int = 0) -> Tensor:
    shape = (n, modality.channels, *modality.size)
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def image(channels: int = 3, size=(8, 12), patch=4, **more) -> ImageModality:
    return ImageModality(16, channels, size, patch, **more)


@given(sides=SIDES, channels=st.integers(1, 5), n=st.integers(1, 3), seed=st.integers(0, 1000))
def test_join_undoes_split(sides, channels, n, seed):
    gh, gw, ph, pw = sides
    generator = torch.Generator().manual_seed(seed)
    statistics = {
        "mean": torch.rand(channels, generator=generator),
        "std": 0.05 + torch.rand(channels, generator=generator),
    }
    modality = image(channels, (gh * ph, gw * pw), (ph, pw), **{k: v.tolist() for k, v in statistics.items()})
    raw = noise(n, modality, seed)
    cells = modality.split(raw)
    assert cells.values.shape == (n, gh * gw, ph * pw * channels) and cells.coords.shape == (gh * gw, 2)
    assert modality.grid == (gh, gw) and modality.cells == gh * gw
    assert torch.equal(modality.join(cells.values), raw)
    assert torch.equal(modality.to_map(cells.values), modality.scale(raw))
    assert torch.equal(modality.split(modality.scale(raw)).values, cells.values), "raw or scaled"


def test_order_of_values_and_cells():
    """Rows of patches first; inside a patch (row, column, channel)."""
    modality = image(2, (4, 6), (2, 3))
    scaled = torch.arange(2 * 4 * 6).float().view(1, 2, 4, 6)
    cells = modality.split(scaled)
    assert cells.values[0, 1].view(2, 3, 2)[1, 2].tolist() == [scaled[0, 0, 1, 5], scaled[0, 1, 1, 5]]
    assert cells.coords.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert cells.values[0, 2].view(2, 3, 2)[0, 0, 0] == scaled[0, 0, 2, 0]


def test_normalisation():
    modality = image(2, mean=[0.5, 0.2], std=[0.5, 0.1])
    raw = torch.tensor([0, 255], dtype=torch.uint8).view(1, 2, 1, 1).expand(1, 2, 8, 12)
    assert modality.scale(raw)[0, :, 0, 0].tolist() == pytest.approx([-1.0, 8.0])
    assert modality.unscale(torch.full((1, 2, 8, 12), 99.0)).unique().tolist() == [255]
    assert modality.unscale(torch.full((1, 2, 8, 12), -99.0)).unique().tolist() == [0]
    every = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1).expand(256, 2, 8, 12)
    assert torch.equal(modality.unscale(modality.scale(every)), every)


def test_any_memory_layout():
    modality = image(3, (8, 12), 4)
    raw = noise(2, modality)
    turned = raw.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    for other in (turned, raw.to(memory_format=torch.channels_last), torch.cat([raw, raw], 3)[..., :12]):
        assert not other.is_contiguous()
        assert torch.equal(modality.split(other).values, modality.split(raw).values)


def test_embed_takes_the_kept_cells_alone():
    modality = image()
    cells = modality.split(noise(2, modality))
    keep = torch.tensor([[5, 0], [3, 3]])
    whole = modality.embed(cells)
    torch.testing.assert_close(modality.embed(cells, keep)[1, 0], whole[1, 3])
    torch.testing.assert_close(modality.embed(cells, keep)[0], whole[0, keep[0]])


def test_split_is_differentiable():
    modality = image()
    scaled = modality.scale(noise(1, modality)).requires_grad_()
    (modality.split(scaled).values * 3).sum().backward()
    assert (scaled.grad == 3).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_render(channels):
    modality = image(channels)
    raw = noise(2, modality)
    shown = modality.render(raw)
    assert shown.shape == (2, 8, 12, 3) and shown.dtype == torch.uint8
    assert torch.equal(shown[..., 0], raw[:, 0])
    last = {1: raw[:, 0], 2: torch.zeros_like(raw[:, 0])}.get(channels, raw[:, 2 % channels])
    assert torch.equal(shown[..., 2], last)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": (8, 12), "patch": 16}, "patch 16x16 is larger than the image 8x12"),
        ({"size": (8, 12), "patch": 3}, "patch 3 does not divide the image height 8: choose one of 2, 4, 8"),
        ({"size": (8, 12), "patch": 8}, "does not divide the image width 12"),
        ({"size": (8, 8), "patch": 8}, "covers the whole image 8x8: at least two cells"),
        ({"mean": [0.5]}, "mean has 1 entries for 3 channels"),
        ({"std": [1.0, 1.0, 1.0, 1.0]}, "std has 4 entries for 3 channels"),
        ({"std": [1.0, 0.0, 1.0]}, "every channel needs a positive one"),
        ({"std": [1.0, float("nan"), 1.0]}, "every channel needs a positive one"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        image(**settings)


@pytest.mark.parametrize("shape", [(2, 3, 12, 8), (2, 1, 8, 12), (3, 8, 12), (2, 3, 16, 12), (1, 6, 8, 12)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_other_shapes_are_refused(shape, dtype):
    """Floats too: (2, 3, 16, 12) would otherwise be cut into four images of half the height."""
    with pytest.raises(ValueError, match=r"this model takes \(B, 3, 8, 12\)"):
        image().split(torch.zeros(shape, dtype=dtype))


def test_raw_is_uint8():
    with pytest.raises(TypeError, match="raw images are uint8"):
        image().scale(torch.zeros(1, 3, 8, 12))


def test_small_images_are_taken_as_they_are():
    x = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 4)).astype(np.uint8)
    np.testing.assert_array_equal(ImageModality.plain(x, {}), x.reshape(5, -1).astype(np.float32) / 255)


def test_large_images_are_averaged_down():
    x = np.zeros((2, 1, 8, 8), np.uint8)
    x[:, :, :4] = 200
    found = ImageModality.plain(x, {}, most=16)
    assert found.shape == (2, 16) and found.dtype == np.float32
    np.testing.assert_allclose(found[0].reshape(4, 4)[:, 0], np.array([200, 200, 0, 0]) / 255, rtol=1e-6)
    assert ImageModality.plain(x[:0], {}, most=16).shape == (0, 16)


def test_shifts_are_translations_with_repeated_edges():
    raw = torch.arange(2 * 3 * 5 * 4, dtype=torch.uint8).view(2, 3, 5, 4)
    draws = Draws(0, 0, torch.arange(2))
    moves = (draws.uniform("shift", 2) * 5).long() - 2
    modality = ImageModality(8, 3, (5, 4), (5, 2))
    found = modality.jitter(raw, draws, 2)
    for i, (down, right) in enumerate(moves.tolist()):
        for y in range(5):
            for x in range(4):
                source = raw[i, :, min(max(y + down, 0), 4), min(max(x + right, 0), 3)]
                assert torch.equal(found[i, :, y, x], source)
    assert modality.jitter(raw, draws, 0) is raw
    many = (Draws(0, 0, torch.arange(500)).uniform("shift", 2) * 5).long() - 2
    assert set(many.unique().tolist()) == {-2, -1, 0, 1, 2}
