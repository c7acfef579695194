"""Masks with options: blocks, coarse groups, masks led by what cells show, and by a map."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from mae_core.cells import Cells, Context
from mae_core.draws import Draws
from mae_core.masking import MASKERS
from mae_core.masking.coarse import CoarseMasker
from mae_core.masking.content import VarianceMasker, over_mean
from mae_core.masking.gumbel import gumbel, order_log_prob
from mae_core.masking.making import context_for, make_masker, options_of
from mae_core.masking.multi_block import MultiBlockMasker
from mae_core.masking.plan import count_kept, plan_from_scores
from mae_core.masking.weight_map import WeightMapMasker
from mae_core.modalities import MODALITIES
from mae_core.model import MaskedAutoencoder
from mae_core.registry import resolve


def grid(*sides: int, time: int = -1) -> Cells:
    axes = torch.meshgrid(*(torch.arange(side) for side in sides), indexing="ij")
    return Cells(None, torch.stack(axes, -1).view(-1, len(sides)).float(), time=time)


def hidden(masker, cells: Cells, ratio: float, n: int = 4000, context: Context | None = None) -> torch.Tensor:
    """(n, N) bool."""
    plan = plan_from_scores(masker.score(cells, Draws(5, 2, torch.arange(n)), context).scores, ratio, cells.valid)
    ok = True if plan.hide_ok is None else plan.hide_ok
    return torch.zeros(n, cells.coords.shape[-2], dtype=torch.bool).scatter(1, plan.hide, ok)


def evenness(maps: torch.Tensor) -> float:
    """Chi-square probability that cells are hidden equally often, if samples were independent cells drawn without replacement."""
    n, cells = maps.shape
    share = float(maps.float().mean())
    statistic = ((maps.sum(0) - n * share) ** 2 / (n * share * (1 - share))).sum() * (cells - 1) / cells
    return float(stats.chi2.sf(float(statistic), cells - 1))


class TestMultiBlock:
    @pytest.mark.parametrize("ratio", [0.2, 0.5, 0.75])
    @pytest.mark.parametrize("sides", [(8, 8), (5, 12), (1, 9)])
    def test_every_cell_is_hidden_as_often(self, sides, ratio):
        """Neighbours are hidden together, so counts vary more than of independent cells: five standard errors, of each cell."""
        often = hidden(MultiBlockMasker(), grid(*sides), ratio, 6000).float().mean(0)
        share = 1 - count_kept(sides[0] * sides[1], ratio) / (sides[0] * sides[1])
        assert (often - share).abs().max() < 5 * math.sqrt(share * (1 - share) / 6000)

    def test_one_block_is_a_rectangle_on_the_ring(self):
        """Its rows are alike, but for the one that is cut: as many columns in each, once the ring is turned so that it does not wrap."""
        maps = hidden(MultiBlockMasker(blocks=1), grid(10, 10), 0.2, 200).view(-1, 10, 10).numpy()
        for one in maps:
            rows, columns = one.any(1), one.any(0)
            box = rows.sum() * columns.sum()
            assert 20 <= box <= 20 + 2 * max(rows.sum(), columns.sum())
            assert sum(rows != np.roll(rows, 1)) == 2 and sum(columns != np.roll(columns, 1)) == 2

    def test_blocks_hang_together(self):
        def edges(name):
            masker = make_masker({"strategy": name})
            maps = hidden(masker, grid(14, 14), 0.6, 200).view(-1, 14, 14)
            return float((maps != maps.roll(1, 1)).float().sum() + (maps != maps.roll(1, 2)).float().sum())

        assert edges("multi_block") < 0.5 * edges("random")

    def test_over_time_blocks_stand_still(self):
        maps = hidden(MultiBlockMasker(), grid(4, 6, 6, time=0), 0.5, 200).view(-1, 4, 36)
        assert (maps == maps[:, :1]).float().mean() > 0.97, "all moments alike, but for the cells that are cut"

    def test_a_line_has_no_blocks(self):
        with pytest.raises(ValueError, match="2-D grid, or one over time; these have 1 axes"):
            MultiBlockMasker().score(grid(6), Draws(0, 0, torch.arange(2)))


class TestCoarse:
    @pytest.mark.parametrize(("size", "sides"), [(2, (6, 8)), (3, (6, 9)), ([1, 4], (3, 8)), (2, (4, 4, 2))])
    def test_groups_are_hidden_whole(self, size, sides):
        cells = grid(*sides)
        steps = size if isinstance(size, list) else [size] * len(sides)
        group = sum((cells.coords[:, a] // s).long() * 100**a for a, s in enumerate(steps))
        maps = hidden(CoarseMasker(size), cells, 0.5, 500)
        cut = torch.stack([maps[:, group == g].any(1) & ~maps[:, group == g].all(1) for g in group.unique()]).sum(0)
        assert int(cut.max()) <= 1 and (maps.sum(1) == cells.coords.shape[0] // 2).all()

    def test_every_cell_is_hidden_as_often(self):
        often = hidden(CoarseMasker(), grid(6, 8), 0.75, 6000).float().mean(0)
        assert (often - 0.75).abs().max() < 5 * math.sqrt(0.75 * 0.25 / 6000)

    def test_a_size_for_each_axis(self):
        with pytest.raises(ValueError, match="size has 3 sides, cells lie along 2"):
            CoarseMasker([2, 2, 2]).score(grid(4, 4), Draws(0, 0, torch.arange(2)))


def test_gumbel_top_k_draws_in_proportion_to_weights():
    """Of one hidden cell the frequencies are the weights; of the second, the weights of those that are left (Plackett–Luce)."""
    weights = torch.tensor([1.0, 2.0, 3.0, 6.0], dtype=torch.float64)
    n = 20000
    scores = weights.log() + gumbel(Draws(0, 0, torch.arange(n)), "mask", 4)
    order = plan_from_scores(scores, 0.5).hide
    assert stats.chisquare(order[:, 0].bincount(minlength=4), n * weights / 12).pvalue > 1e-3
    pairs = {(i, j): int(((order[:, 0] == i) & (order[:, 1] == j)).sum()) for i in range(4) for j in range(4) if i != j}
    expected = [n * weights[i] / 12 * weights[j] / (12 - weights[i]) for i, j in pairs]
    assert stats.chisquare(list(pairs.values()), torch.stack(expected)).pvalue > 1e-3


def test_gumbel_noise_is_finite():
    noise = gumbel(Draws(0, 0, torch.arange(2000)), "x", 64).flatten()
    assert torch.isfinite(noise).all()


@pytest.mark.parametrize("bits", [0, (1 << 24) - 1])
def test_gumbel_noise_of_the_least_and_the_largest_draw_is_finite(monkeypatch, bits):
    monkeypatch.setattr(Draws, "uniform", lambda self, stream, n: torch.full((2, n), bits / (1 << 24)))
    noise = gumbel(Draws(0, 0, torch.arange(2)), "x", 4)
    assert torch.isfinite(noise).all() and (noise.abs() < 17).all()


def test_gumbel_noise_is_as_the_distribution_says():
    noise = gumbel(Draws(0, 0, torch.arange(2000)), "x", 64).flatten()
    assert stats.kstest(noise.numpy()[:20000], "gumbel_r").pvalue > 1e-3


class TestOrderLogProb:
    def test_of_three_picks_by_hand(self):
        w = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.float64)
        found = order_log_prob(w.log(), torch.tensor([[2, 0, 3]]), None, None)
        expected = torch.tensor([[3 / 10, 1 / 7, 4 / 6]], dtype=torch.float64).log()
        torch.testing.assert_close(found, expected)

    def test_probabilities_of_all_orders_add_up_to_one(self):
        logits = torch.randn(1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        orders = torch.tensor([[i, j] for i in range(4) for j in range(4) if i != j])
        total = order_log_prob(logits.expand(12, -1), orders, None, None).sum(1).exp().sum()
        torch.testing.assert_close(total, torch.ones((), dtype=torch.float64))

    def test_cells_that_are_not_there_do_not_count(self):
        logits = torch.randn(1, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
        valid = torch.tensor([[True, True, False, True, True]])
        order, ok = torch.tensor([[4, 0, 0]]), torch.tensor([[True, True, False]])
        found = order_log_prob(logits, order, ok, valid)
        short = order_log_prob(logits[:, [0, 1, 3, 4]], torch.tensor([[3, 0]]), None, None)
        torch.testing.assert_close(found, torch.cat([short, short.new_zeros(1, 1)], 1))
        found.sum().backward()
        assert torch.isfinite(logits.grad).all() and logits.grad[0, 2] == 0


class TestContent:
    def test_much_and_little_are_opposites(self):
        detail = torch.linspace(0.1, 10, 16).expand(4000, -1)
        often = {
            hide: hidden(VarianceMasker(hide), grid(4, 4), 0.5, 4000, Context(details={"variance": detail}))
            .float()
            .mean(0)
            for hide in ("much", "little")
        }
        assert (often["much"].diff() > -0.03).all() and often["much"][-1] - often["much"][0] > 0.5
        assert (often["little"].diff() < 0.03).all() and often["little"][0] - often["little"][-1] > 0.5

    def test_equal_detail_is_random(self):
        maps = hidden(
            VarianceMasker(), grid(4, 4), 0.5, 4000, Context(details={"variance": torch.full((4000, 16), 3.0)})
        )
        assert evenness(maps) > 1e-3

    def test_sharp_is_nearly_in_order(self):
        detail = torch.linspace(1, 4, 16).expand(50, -1)
        maps = hidden(VarianceMasker(sharpness=100.0), grid(4, 4), 0.5, 50, Context(details={"variance": detail}))
        assert maps[:, 8:].all() and not maps[:, :8].any()

    def test_units_do_not_matter_and_what_is_not_there_does_not_count(self):
        detail = torch.tensor([[1.0, 2.0, 3.0, 100.0]])
        valid = torch.tensor([[True, True, True, False]])
        torch.testing.assert_close(over_mean(detail, valid)[:, :3], torch.tensor([[0.5, 1.0, 1.5]]))
        torch.testing.assert_close(over_mean(7 * detail, None), over_mean(detail, None))
        assert (over_mean(torch.zeros(1, 4), valid) == 1).all()

    @pytest.mark.parametrize("name", ["variance", "edges", "motion"])
    def test_without_a_measure_it_says_what_is_missing(self, name):
        with pytest.raises(ValueError, match=f"needs the {name} of cells"):
            make_masker({"strategy": name}).score(grid(2, 2), Draws(0, 0, torch.arange(2)))


class TestWeightMap:
    def test_zero_is_hidden_last_and_weights_say_how_often(self):
        weights = [0.0, 1.0, 1.0, 2.0, 4.0, 0.0]
        first = hidden(WeightMapMasker(weights), grid(2, 3), 0.16, 8000)
        assert stats.chisquare(first.sum(0)[1:5], 8000 * np.array(weights[1:5]) / 8).pvalue > 1e-3
        most = hidden(WeightMapMasker(weights), grid(2, 3), 0.66, 50)
        assert most[:, 1:5].sum(1).tolist() == [int(most[0].sum())] * 50 and not most[:, [0, 5]].any()

    def test_none_weighs_all_alike(self):
        assert evenness(hidden(WeightMapMasker(), grid(4, 5), 0.5)) > 1e-3

    @pytest.mark.parametrize(
        ("weights", "said"),
        [
            ([1.0, -1.0], "holds -1.0"),
            ([1.0, math.nan], "holds nan"),
            ([0.0, 0.0], "are all 0"),
            ([1.0], "1 numbers for 2 cells"),
        ],
    )
    def test_what_is_no_map(self, weights, said):
        with pytest.raises(ValueError, match=said):
            WeightMapMasker(weights).score(grid(1, 2), Draws(0, 0, torch.arange(1)))


class TestMaking:
    @pytest.mark.parametrize(
        ("masking", "said"),
        [
            (
                {"strategy": "variance", "options": {"hid": "much"}},
                "variance masking has no 'hid'.*did you mean 'hide'.*sharpness",
            ),
            ({"strategy": "random", "options": {"size": 2}}, "random masking has no 'size': it has none"),
            ({"strategy": "variance", "options": {"hide": "some"}}, "option hide is 'some': there are much, little"),
            ({"strategy": "coarse", "options": {"size": 0}}, "option size is 0: a whole number of at least 1"),
            (
                {"strategy": "edges", "options": {"sharpness": math.inf}},
                "option sharpness is inf: a number of at least 0",
            ),
            ({"strategy": "policy", "options": {"rate": math.nan}}, "option rate is nan: a number of at least 0"),
            ({"strategy": "multi_block", "options": {"aspect": [2, 1]}}, "the first is the larger one"),
            ({"strategy": "weight_map", "options": {"weights": [1]}}, "weight_map masking has no 'weights'"),
            ({"strategy": "grid", "weights": [1.0]}, "for weight_map masking, not for grid"),
            ({"strategy": "gird"}, "did you mean 'grid'"),
        ],
    )
    def test_what_is_refused(self, masking, said):
        with pytest.raises(ValueError, match=said):
            make_masker(masking)

    @pytest.mark.parametrize("strategy", MASKERS)
    def test_defaults_may_be_written_out(self, strategy):
        options = {name: list(v) if isinstance(v, tuple) else v for name, v in options_of(strategy).items()}
        assert type(make_masker({"strategy": strategy, "options": options})) is type(
            make_masker({"strategy": strategy})
        )


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_modality_measures_what_its_maskers_ask_for(modality):
    """Each cell's measure depends on its sample alone, is finite where the cell is valid, and not negative."""
    kind = resolve(MODALITIES, modality, "modality")
    asked = {name for row in kind.maskers for name in getattr(make_masker({"strategy": row}), "details", ())}
    assert asked <= set(kind.details)
    for example in kind.examples().values():
        made = kind(width=16, **example.config)
        cells = made.split(example.raw(4, torch.Generator().manual_seed(3)))
        valid = torch.ones(4, cells.coords.shape[-2], dtype=torch.bool) if cells.valid is None else cells.valid
        for name in kind.details:
            masker = make_masker({"strategy": name})
            found = context_for(masker, made, cells, Context()).details[name]
            assert found.shape == valid.shape and found.dtype == torch.float32 and not found.requires_grad
            assert torch.isfinite(found[valid]).all() and (found[valid] >= 0).all()
        with pytest.raises(ValueError, match="does not measure 'colour'"):
            made.detail(cells, "colour")


def test_groups_with_sides_along_other_axes_are_refused_when_a_model_is_built(make_config):
    with pytest.raises(ValueError, match="option size has 3 sides, cells lie along 2"):
        MaskedAutoencoder.build(make_config(masking={"strategy": "coarse", "options": {"size": [2, 2, 2]}}))
