"""From scores to a plan: partition, exact counts, ragged batches."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mae_core.cells import Plan
from mae_core.masking.plan import count_kept, plan_from_scores, plan_of

RATIOS = st.floats(0.01, 0.99)
SEEDS = st.integers(0, 2**31)


def exact(n: int, ratio: float) -> int:
    """The published count, clamped so that something is seen and something is hidden; below 2 cells nothing is hidden."""
    return max(1, min(n - 1, int(n * (1 - ratio) + 1e-9))) if n >= 2 else n


def scores(batch: int, cells: int, seed: int) -> torch.Tensor:
    return torch.rand(batch, cells, generator=torch.Generator().manual_seed(seed))


def rows(index: torch.Tensor, ok: torch.Tensor | None) -> list[list[int]]:
    ok = torch.ones_like(index, dtype=torch.bool) if ok is None else ok
    return [row[good].tolist() for row, good in zip(index, ok)]


def kept_and_hidden(plan: Plan) -> list[tuple[list[int], list[int]]]:
    return list(zip(rows(plan.keep, plan.keep_ok), rows(plan.hide, plan.hide_ok)))


@given(batch=st.integers(1, 5), cells=st.integers(2, 300), ratio=RATIOS, seed=SEEDS)
def test_partition_and_counts(batch, cells, ratio, seed):
    s = scores(batch, cells, seed)
    plan = plan_from_scores(s, ratio)
    assert plan.keep_ok is None and plan.hide_ok is None
    for i, (keep, hide) in enumerate(kept_and_hidden(plan)):
        assert sorted(keep + hide) == list(range(cells))
        assert len(keep) == exact(cells, ratio)
        assert s[i, keep].max() <= s[i, hide].min()
        assert s[i, hide].tolist() == sorted(s[i, hide].tolist(), reverse=True), "highest score first"


@given(data=st.data(), cells=st.integers(1, 40), ratio=RATIOS, seed=SEEDS)
def test_ragged_batches(data, cells, ratio, seed):
    """Rows of any number of valid cells, 0, 1 and 2 among them: each is masked as it would be alone."""
    counts = [*data.draw(st.lists(st.integers(0, cells), min_size=1, max_size=5)), 0, min(1, cells), min(2, cells)]
    places = [torch.randperm(cells, generator=torch.Generator().manual_seed(seed + i)) for i in range(len(counts))]
    valid = torch.zeros(len(counts), cells, dtype=torch.bool)
    for row, (count, place) in enumerate(zip(counts, places)):
        valid[row, place[:count]] = True
    s = scores(len(counts), cells, seed)
    plan = plan_from_scores(s, ratio, valid)
    assert plan.keep_ok is not None and plan.hide_ok is not None
    assert plan.keep.shape == plan.keep_ok.shape and plan.hide.shape == plan.hide_ok.shape
    for row, (keep, hide) in enumerate(kept_and_hidden(plan)):
        mine = valid[row].nonzero().flatten()
        assert sorted(keep + hide) == mine.tolist()
        assert len(keep) == exact(len(mine), ratio)
        if len(mine) >= 2:
            alone = plan_from_scores(s[row : row + 1, mine], ratio)
            assert (mine[alone.keep[0]].tolist(), mine[alone.hide[0]].tolist()) == (keep, hide)
    for index in (plan.keep, plan.hide):
        assert index.numel() == 0 or (index.min() >= 0 and index.max() < cells), "padding can be gathered"


@pytest.mark.parametrize("ratio", [i / 100 for i in range(1, 100)])
def test_counts_do_not_depend_on_how_they_are_computed(ratio):
    """Whole batches count in Python, ragged ones on the device: in single precision they would differ (75 cells at 0.16)."""
    for cells in (2, 3, 4, 10, 16, 49, 64, 75, 100, 150, 196, 225, 256, 300):
        full = plan_from_scores(scores(1, cells, 0), ratio, torch.ones(1, cells, dtype=torch.bool))
        assert int(full.keep_ok.sum()) == count_kept(cells, ratio) == exact(cells, ratio)


@pytest.mark.parametrize(
    ("cells", "ratio", "kept"),
    [
        (10, 0.9, 1),
        (100, 0.9, 10),
        (196, 0.75, 49),
        (16, 0.999, 1),
        (16, 0.001, 15),
        (2, 0.5, 1),
        (3, 0.9, 1),
        (5, 0, 5),
    ],
)
def test_known_counts(cells, ratio, kept):
    """``int(10 * (1 - 0.9))`` is 0 in binary: nothing would be seen."""
    assert count_kept(cells, ratio) == kept


@given(cells=st.integers(2, 100), ratio=RATIOS)
def test_more_ratio_never_keeps_more(cells, ratio):
    assert 1 <= count_kept(cells, ratio) <= cells - 1
    assert count_kept(cells, min(ratio + 0.01, 0.99)) <= count_kept(cells, ratio) <= count_kept(cells + 1, ratio)


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 1.5, float("nan")])
def test_impossible_ratios(ratio):
    with pytest.raises(ValueError, match="is outside"):
        plan_from_scores(torch.rand(1, 8), ratio)


def test_plain_autoencoder():
    valid = torch.tensor([[True, True, False], [True, True, True]])
    plan = plan_from_scores(torch.rand(2, 3), 0.0, valid)
    assert kept_and_hidden(plan) == [([0, 1], [0, 1]), ([0, 1, 2], [0, 1, 2])]


def test_equal_scores_keep_their_order():
    plan = plan_from_scores(torch.zeros(1, 6), 0.5)
    assert plan.keep.tolist() == [[0, 1, 2]] and plan.hide.tolist() == [[5, 4, 3]]


def test_a_plan_of_chosen_cells_holds_these_and_no_others():
    keep = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]).bool()
    hide = torch.tensor([[0, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]).bool()
    plan = plan_of(keep, hide)
    for index, ok, cells in ((plan.keep, plan.keep_ok, keep), (plan.hide, plan.hide_ok, hide)):
        assert index.shape == ok.shape
        for i, row in enumerate(cells):
            assert index[i][ok[i]].tolist() == row.nonzero().flatten().tolist()
