"""What each masker promises, and what all of them do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mae_core.cells import Cells, Context, Plan, Taught
from mae_core.draws import Draws
from mae_core.masking import MASKERS
from mae_core.masking.plan import count_kept, plan_from_scores
from mae_core.registry import resolve

SEEDS = st.integers(0, 2**31)


def grid_cells(height: int, width: int) -> Cells:
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return Cells(None, torch.stack([rows, columns], -1).view(-1, 2).float())


def context_of(cells: Cells, draws: Draws) -> Context:
    """What a modality and a teacher might tell of these samples: anything that their ids decide."""
    n, fixed = cells.coords.shape[-2], draws._replace(seed=0, step=0)
    said = Taught(attention=fixed.uniform("look", n), difficulty=fixed.uniform("fear", n))
    return Context(0.8, said, dict.fromkeys(("variance", "edges", "motion"), fixed.uniform("detail", n)))


def plan_of(name: str, grid: tuple[int, int], ratio: float, seed: int = 0, step: int = 0, ids=None) -> Plan:
    ids = torch.arange(4) if ids is None else ids
    cells, draws = grid_cells(*grid), Draws(seed, step, ids)
    scored = resolve(MASKERS, name, "masker")().score(cells, draws, context_of(cells, draws))
    assert scored.scores.shape == (len(ids), grid[0] * grid[1]) and torch.isfinite(scored.scores).all()
    return plan_from_scores(scored.scores, ratio)


def hidden_maps(name: str, grid: tuple[int, int], ratio: float, n: int = 4000) -> np.ndarray:
    """(n, height, width) bool."""
    hide = plan_of(name, grid, ratio, ids=torch.arange(n)).hide
    return torch.zeros(n, grid[0] * grid[1], dtype=torch.bool).scatter(1, hide, True).view(n, *grid).numpy()


DIRECTED = {"tail"}
"""Nothing is drawn: these hide the same places in every sample."""
SHARED = {"column"}
"""What is drawn holds for the whole batch."""
GRIDS = st.tuples(st.integers(1, 9), st.integers(2, 9))


@pytest.mark.parametrize("name", MASKERS)
class TestAll:
    @given(grid=GRIDS, ratio=st.floats(0.01, 0.99), seed=SEEDS, step=st.integers(0, 10**6))
    def test_partition_and_equal_counts(self, name, grid, ratio, seed, step):
        plan = plan_of(name, grid, ratio, seed, step)
        cells = grid[0] * grid[1]
        assert plan.keep.shape == (4, count_kept(cells, ratio))
        together = torch.cat([plan.keep, plan.hide], 1).sort(1).values
        assert torch.equal(together, torch.arange(cells).expand(4, -1))

    @given(
        grid=GRIDS, seed=SEEDS, step=st.integers(0, 1000), ids=st.lists(st.integers(0, 2**40), min_size=1, max_size=6)
    )
    def test_a_sample_gets_its_plan_in_any_batch(self, name, grid, seed, step, ids):
        together = plan_of(name, grid, 0.6, seed, step, torch.tensor(ids))
        again = plan_of(name, grid, 0.6, seed, step, torch.tensor(ids))
        backwards = plan_of(name, grid, 0.6, seed, step, torch.tensor(ids[::-1]))
        alone = plan_of(name, grid, 0.6, seed, step, torch.tensor(ids[-1:]))
        for field in ("keep", "hide"):
            whole = getattr(together, field)
            assert torch.equal(whole, getattr(again, field))
            assert torch.equal(whole, getattr(backwards, field).flip(0))
            assert torch.equal(whole[-1:], getattr(alone, field))

    @pytest.mark.parametrize("change", [{"seed": 1}, {"step": 1}, {"ids": torch.arange(64, 128)}])
    def test_masks_vary(self, name, change):
        if name in DIRECTED:
            pytest.skip("hides the same places in every sample")
        if name in SHARED and "ids" in change:
            pytest.skip("hides the same places in the whole batch")
        base = {"seed": 0, "step": 0, "ids": torch.arange(64)}
        a, b = plan_of(name, (7, 23), 0.5, **base), plan_of(name, (7, 23), 0.5, **{**base, **change})
        assert (a.keep.sort(1).values != b.keep.sort(1).values).any(1).float().mean() > 0.8

    @pytest.mark.parametrize("ratio", [0.3, 0.75])
    def test_mirrored_places_are_hidden_alike(self, name, ratio):
        """No side or corner is favoured: turned upside down or mirrored, the frequencies are the same."""
        if name in DIRECTED:
            pytest.skip("favours one side by intent")
        if name in SHARED:
            pytest.skip("one draw for all samples")
        maps = hidden_maps(name, (6, 8), ratio)
        often = maps.mean(0)
        bound = 5 * math.sqrt(2 * 0.25 / len(maps))
        assert np.abs(often - often[::-1]).max() < bound
        assert np.abs(often - often[:, ::-1]).max() < bound

    def test_coordinates_of_each_sample(self, name):
        """(B, N, 2) coordinates, as a ragged batch has, mean the same as shared ones."""
        masker, cells = resolve(MASKERS, name, "masker")(), grid_cells(5, 4)
        draws = Draws(3, 4, torch.arange(6))
        own, context = cells._replace(coords=cells.coords.expand(6, -1, -1)), context_of(cells, draws)
        assert torch.equal(masker.score(cells, draws, context).scores, masker.score(own, draws, context).scores)

    @pytest.mark.parametrize("time", [0, -1])
    def test_padding_changes_no_mask(self, name, time):
        """A short sample of a padded batch gets the mask that it has by itself, a whole one beside it that of a batch without padding."""
        masker, draws = resolve(MASKERS, name, "masker")(), Draws(3, 4, torch.arange(300))
        short, whole = (grid_cells(rows, 4)._replace(time=time) for rows in (9, 16))
        padded = whole._replace(valid=torch.ones(300, 64, dtype=torch.bool))
        padded.valid[:150, 36:] = False
        plans = []
        for cells in (short, whole, padded):
            scores = masker.score(cells, draws, context_of(cells, draws)).scores
            plans.append(plan_from_scores(scores, 0.6, cells.valid))
        alone, unpadded, found = plans
        n = alone.hide.shape[1]
        assert found.hide_ok.sum(1).tolist() == [n] * 150 + [unpadded.hide.shape[1]] * 150
        assert torch.equal(found.hide[:150, :n], alone.hide[:150])
        assert torch.equal(found.hide[150:], unpadded.hide[150:])


@pytest.mark.parametrize("ratio", [0.25, 0.75, 0.9])
def test_random_hides_every_cell_equally_often(ratio):
    maps = hidden_maps("random", (5, 7), ratio)
    share = 1 - count_kept(35, ratio) / 35
    counts = maps.sum(0).flatten()
    # cells of one sample are drawn without replacement, so the plain chi-square is too large by n / (n - 1)
    statistic = ((counts - len(maps) * share) ** 2 / (len(maps) * share * (1 - share))).sum() * 34 / 35
    assert stats.chi2.sf(statistic, 34) > 1e-3


def test_random_pairs_are_hidden_independently():
    maps = hidden_maps("random", (4, 4), 0.5).reshape(-1, 16).astype(float)
    correlation = np.corrcoef(maps.T)[~np.eye(16, dtype=bool)]
    assert np.abs(correlation + 1 / 15).max() < 5 / len(maps) ** 0.5


@pytest.mark.parametrize("grid", [(4, 4), (6, 10), (2, 8)])
def test_grid_keeps_one_of_each_two_by_two(grid):
    seen = ~hidden_maps("grid", grid, 0.75, 200)
    squares = seen.reshape(200, grid[0] // 2, 2, grid[1] // 2, 2).transpose(0, 1, 3, 2, 4).reshape(200, -1, 4)
    assert (squares.sum(-1) == 1).all()
    corner = squares.argmax(-1)
    assert (corner == corner[:, :1]).all(), "the same corner everywhere"
    assert set(corner[:, 0]) == {0, 1, 2, 3}


def test_grid_corners_are_equally_often_seen():
    seen = ~hidden_maps("grid", (4, 4), 0.75)
    counts = [int(seen[:, y, x].sum()) for y in (0, 1) for x in (0, 1)]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_grid_half_hides_whole_phases():
    """At 50 % two of the four phases go: every 2 × 2 shows the same two corners."""
    seen = ~hidden_maps("grid", (4, 6), 0.5, 100)
    squares = seen.reshape(100, 2, 2, 3, 2).transpose(0, 1, 3, 2, 4).reshape(100, 6, 4)
    assert (squares.sum(-1) == 2).all() and (squares == squares[:, :1]).all()


def perimeter(maps: np.ndarray) -> float:
    """The mean number of edges between a hidden and a visible cell."""
    return float(
        (maps[:, 1:] != maps[:, :-1]).sum((1, 2)).mean() + (maps[:, :, 1:] != maps[:, :, :-1]).sum((1, 2)).mean()
    )


@pytest.mark.parametrize("ratio", [0.25, 0.4, 0.6, 0.75])
@pytest.mark.parametrize("grid", [(8, 8), (6, 14), (14, 14)])
def test_blocks_hang_together(grid, ratio):
    block, random = (perimeter(hidden_maps(name, grid, ratio, 300)) for name in ("block", "random"))
    assert block < 0.75 * random


@pytest.mark.parametrize("grid", [(16, 16), (16, 64), (40, 16)])
def test_blocks_have_their_aspect_in_cells(grid):
    """Height over width is drawn evenly in its logarithm from 0.3 to 3.3, whatever the sides of the picture."""
    scores = resolve(MASKERS, "block", "masker")().score(grid_cells(*grid), Draws(0, 0, torch.arange(2000))).scores
    first = (scores > 16).view(-1, *grid)  # the first of sixteen rectangles, in each sample
    height, width = first.any(2).sum(1), first.any(1).sum(1)
    aspect, shorter = height / width, torch.minimum(height, width)
    rounding = 1 + 1 / shorter  # half a cell of either side
    assert ((aspect > 0.3 / rounding) & (aspect < rounding / 0.3)).all()
    assert 0.9 < aspect.median() < 1.1 and (aspect < 0.5).any() and (aspect > 2).any()


@pytest.mark.parametrize("grid", [(8, 8), (5, 12)])
def test_blocks_reach_every_edge(grid):
    """Rectangles lie whole in the image, so the middle is in more of them than a corner is; no corner is spared, all are alike."""
    often = hidden_maps("block", grid, 0.5, 6000).mean(0)
    assert often.mean() == pytest.approx(1 - count_kept(grid[0] * grid[1], 0.5) / (grid[0] * grid[1]))
    assert often.min() > 0.1 and often.max() < 0.9
    edges = [often[0].mean(), often[-1].mean(), often[:, 0].mean(), often[:, -1].mean()]
    assert max(edges[:2]) - min(edges[:2]) < 0.02 and max(edges[2:]) - min(edges[2:]) < 0.02
    corners = often[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.max() - corners.min() < 0.04


def test_a_small_budget_is_one_rectangle():
    """At 10 % or less everything hidden lies in the first rectangle: in a box that is not the whole grid."""
    maps = hidden_maps("block", (14, 14), 0.08, 300)
    for hidden in maps:
        rows, columns = np.where(hidden.any(1))[0], np.where(hidden.any(0))[0]
        box = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
        assert box <= 0.36 * 14 * 14 + 14


def test_blocks_need_a_plane():
    cells = Cells(None, torch.arange(6.0).view(6, 1))
    with pytest.raises(ValueError, match="2-D grid, these have 1 axes"):
        resolve(MASKERS, "block", "masker")().score(cells, Draws(0, 0, torch.arange(2)))


class TestSequences:
    def test_spans_are_runs_of_four(self):
        """At half of 1 x 64 cells every hidden run has four cells, but for the two at the ends and the last, which is cut."""
        runs = []
        for row in hidden_maps("span", (1, 64), 0.5, n=200)[:, 0]:
            edges = np.flatnonzero(np.diff(np.r_[0, row.astype(int), 0]))
            runs += (edges[1::2] - edges[::2]).tolist()
        assert np.mean(np.array(runs) % 4 == 0) > 0.7 and max(runs) >= 8 and np.mean(runs) > 5

    def test_spans_are_shared_by_all_lines(self):
        maps = hidden_maps("span", (3, 32), 0.5, n=50)
        assert (maps[:, 0] == maps[:, 1]).mean() > 0.9

    @pytest.mark.parametrize("ratio", [0.25, 0.5])
    def test_tail_hides_the_last_moments_of_every_line(self, ratio):
        maps = hidden_maps("tail", (3, 16), ratio, n=20)
        assert (maps == (np.arange(16) >= 16 * (1 - ratio))).all()

    def test_lines_are_hidden_whole(self):
        maps = hidden_maps("line", (4, 9), 0.5, n=500)
        assert set(np.unique(maps.sum(2))) == {0, 9} and (maps.any(2).sum(1) == 2).all()
        assert np.abs(maps.any(2).mean(0) - 0.5).max() < 0.12

    def test_stripes_are_hidden_whole(self):
        maps = hidden_maps("stripe", (9, 4), 0.5, n=500)
        assert set(np.unique(maps.sum(1))) == {0, 9} and (maps.any(1).sum(1) == 2).all()
        assert np.abs(maps.any(1).mean(0) - 0.5).max() < 0.12


class TestVideo:
    """Cells of 4 moments by 3 by 5 places."""

    def hidden(self, name: str, ratio: float, n: int = 300) -> np.ndarray:
        axes = torch.meshgrid(torch.arange(4), torch.arange(3), torch.arange(5), indexing="ij")
        cells = Cells(None, torch.stack(axes, -1).view(-1, 3).float(), time=0)
        scored = resolve(MASKERS, name, "masker")().score(cells, Draws(1, 0, torch.arange(n)))
        hide = plan_from_scores(scored.scores, ratio).hide
        return torch.zeros(n, 60, dtype=torch.bool).scatter(1, hide, True).view(n, 4, 15).numpy()

    def test_tubes_hide_a_place_at_all_times(self):
        maps = self.hidden("tube", 0.6)
        assert set(np.unique(maps.sum(1))) == {0, 4} and (maps.any(1).sum(1) == 9).all()
        assert np.abs(maps.any(1).mean(0) - 0.6).max() < 0.15

    def test_the_last_tube_is_cut_to_the_exact_count(self):
        maps = self.hidden("tube", 0.9)
        assert (maps.sum((1, 2)) == 54).all()
        assert (np.sort(maps.sum(1), 1) == [0] + [2] + 13 * [4]).all()

    def test_tail_hides_the_last_moments(self):
        assert (self.hidden("tail", 0.25) == (np.arange(4) == 3)[:, None]).all()

    def test_lines_are_whole_moments(self):
        maps = self.hidden("line", 0.5)
        assert set(np.unique(maps.sum(2))) == {0, 15} and (maps.any(2).sum(1) == 2).all()


def test_columns_are_hidden_in_the_whole_batch_and_each_as_often():
    hides = [plan_of("column", (1, 6), 0.5, step=step).hide for step in range(600)]
    assert all((hide == hide[:1]).all() for hide in hides)
    often = torch.stack([hide[0] for hide in hides]).flatten().bincount(minlength=6) / 600
    assert (often - 0.5).abs().max() < 5 * math.sqrt(0.25 / 600)


def test_gaps_are_copied_first_and_the_rest_is_random():
    gaps = torch.tensor([[True, False, True, False, False, False], [False, True, False, False, False, False]])
    cells = Cells(None, torch.arange(6.0).unsqueeze(-1), gaps=gaps)
    masker, draws = resolve(MASKERS, "copy", "masker")(), Draws(0, 0, torch.arange(4000))
    hide = plan_from_scores(masker.score(cells, draws).scores, 0.5).hide
    hidden = torch.zeros(4000, 6, dtype=torch.bool).scatter(1, hide, True)
    first = hidden[:, 0] & hidden[:, 2]
    assert (first | hidden[:, 1]).all() and 0.45 < hidden[:, 1].float().mean() < 0.75
    of_second = hidden[hidden[:, 1] & ~first].float().mean(0)
    assert (of_second[3:] - of_second[3]).abs().max() < 0.07
    alone = masker.score(cells._replace(gaps=None), draws).scores
    assert torch.equal(alone, resolve(MASKERS, "random", "masker")().score(cells, draws).scores)
