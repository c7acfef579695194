"""Cells and maps are the same values in another order; merging sites is undone by parting them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mae_core.raster import Raster, fold, strides, to_map, to_sites, unfold

axes = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=3)


@given(sides=axes, channels=st.integers(1, 3))
def test_a_map_and_back(sides, channels):
    grid, sub = zip(*sides)
    sites = torch.randn(2, math.prod(grid), *sub, channels)
    image = to_map(sites, grid)
    assert image.shape == (2, channels, *(cells * each for cells, each in sides))
    assert torch.equal(to_sites(image, grid), sites)


def test_sites_lie_where_their_cell_is(make_config, make_raw):
    """The map of an image's cells is the image."""
    from mae_core.model import MaskedAutoencoder

    config = make_config(modality={"size": [6, 12], "patch": [3, 4]})
    modality = MaskedAutoencoder.build(config).modality
    raw = make_raw(2, config)
    sites = modality.raster.sites(modality.split(raw).values)
    torch.testing.assert_close(to_map(sites, modality.raster.grid), modality.scale(raw))


def test_what_is_not_known_is_zero():
    values = torch.tensor([[[1.0, math.nan, 3.0, math.nan]]])
    assert Raster(2, (1,), (2,)).sites(values).tolist() == [[[[1.0, 0.0], [3.0, 0.0]]]]


@given(sides=axes, channels=st.integers(1, 3))
def test_parting_undoes_merging(sides, channels):
    left, factors = zip(*sides)
    sites = torch.randn(2, 5, *(a * f for a, f in sides), channels)
    folded = fold(sites, factors)
    assert folded.shape == (2, 5, *left, channels * math.prod(factors))
    assert torch.equal(unfold(folded, factors), sites)


def test_merged_sites_are_neighbours():
    sites = torch.arange(16.0).view(1, 1, 4, 4, 1)
    assert fold(sites, (2, 2))[0, 0, 0, 0].tolist() == [0, 1, 4, 5]
    assert fold(sites, (2, 2))[0, 0, 1, 0].tolist() == [8, 9, 12, 13]


@pytest.mark.parametrize(
    ("patch", "stages", "expected"),
    [
        ((8, 8), 2, [(4, 4), (2, 2)]),
        ((8, 8), 3, [(2, 2), (2, 2), (2, 2)]),
        ((7, 7), 2, [(7, 7), (1, 1)]),
        ((9, 4), 2, [(3, 2), (3, 2)]),
        ((2, 1), 2, [(2, 1), (1, 1)]),
        ((6,), 1, [(6,)]),
    ],
)
def test_stages_share_the_patch_out(patch, stages, expected):
    found = strides(patch, stages)
    assert found == expected
    assert tuple(math.prod(side) for side in zip(*found)) == patch
