"""Rotary positions: products depend on distances along each axis, global tokens stay as they are."""

import pytest
import torch

from mae_core.layers import Attention
from mae_core.model import MaskedAutoencoder
from mae_core.rotary import Rotary, rotated


def products(coords, each=12):
    """(N, N) of one query and one key put everywhere on ``coords`` (N, K)."""
    q, k = torch.randn(2, each).unbind()
    rotation = Rotary(each)(coords, None, 0)
    count = len(coords)
    turned = [rotated(x.expand(1, 1, count, each), rotation)[0, 0] for x in (q, k)]
    return turned[0] @ turned[1].T


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_products_depend_on_distances_alone(axes):
    coords = torch.randint(0, 5, (7, axes)).float()
    moved = coords + torch.arange(1, axes + 1) * 2.5
    torch.manual_seed(0)
    before = products(coords)
    torch.manual_seed(0)
    torch.testing.assert_close(products(moved), before, rtol=1e-4, atol=1e-5)
    torch.manual_seed(0)
    assert not torch.allclose(products(coords * 1.5), before, atol=1e-3)


def test_each_axis_turns_channels_of_its_own():
    down, right = torch.tensor([[0.0, 0], [1, 0]]), torch.tensor([[0.0, 0], [0, 1]])
    x = torch.randn(1, 1, 2, 8)
    moved = [(rotated(x, Rotary(8)(coords, None, 0)) - x)[0, 0, 1].abs() > 1e-6 for coords in (down, right)]
    assert moved[0].any() and moved[1].any() and not (moved[0] & moved[1]).any()


def test_lengths_and_global_tokens_stay():
    x = torch.randn(2, 3, 7, 9)  # an odd channel is left over
    index = torch.tensor([[4, 0, 2, 1], [1, 3, 5, 0]])
    found = rotated(x, Rotary(9)(torch.rand(6, 2) * 5, index, 3))
    torch.testing.assert_close(found.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(found[:, :, :3], x[:, :, :3]) and torch.equal(found[..., 8], x[..., 8])
    assert not torch.allclose(found[:, :, 3:], x[:, :, 3:])


def test_kept_cells_are_turned_as_among_all():
    coords, index = torch.rand(6, 2) * 5, torch.tensor([[4, 0], [1, 3]])
    whole = Rotary(8)(coords, None, 0)
    part = Rotary(8)(coords, index, 0)
    own = Rotary(8)(coords.expand(2, -1, -1), index, 0)
    for row, cells in enumerate(index.tolist()):
        assert torch.equal(part.cos[row, 0], whole.cos[0, 0][cells])
        assert torch.equal(own.sin[row, 0], whole.sin[0, 0][cells])


def test_the_tail_is_turned_as_in_the_whole():
    attention = Attention(12, 2)
    x, rotation = torch.randn(2, 6, 12), Rotary(6)(torch.rand(5, 2) * 4, None, 1)
    whole = attention(x, rotation=rotation)
    torch.testing.assert_close(attention(x, tail=2, rotation=rotation), whole[:, -2:])


def test_narrow_heads_are_refused(make_config):
    config = make_config(encoder={"heads": 8, "positions": "rope"})
    with pytest.raises(ValueError, match=r"heads of 2 channels are too narrow.* at least 4"):
        MaskedAutoencoder.build(config)
