"""How visible cells are shared out between kinds."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from mae_core.cells import Cells
from mae_core.draws import Draws
from mae_core.masking.kinds import DirichletMasker, WholeKindMasker
from mae_core.masking.plan import count_kept, plan_from_scores

SIZES = st.lists(st.integers(1, 9), min_size=2, max_size=4)


def cells(sizes, valid=None):
    kind = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return Cells(None, torch.zeros(len(kind), 1), kind, valid)


def counts(index, kind, ok, kinds):
    """(B, kinds): how many of the listed cells are of each kind."""
    hot = torch.nn.functional.one_hot(kind[index], kinds)
    return (hot if ok is None else hot * ok.unsqueeze(-1)).sum(1)


@given(sizes=SIZES, ratio=st.floats(0.05, 0.95), seed=st.integers(0, 2**31), lacking=st.booleans())
def test_counts_are_exact_and_drawn_again_alike(sizes, ratio, seed, lacking):
    n, ids = sum(sizes), torch.arange(5)
    valid = torch.ones(5, n, dtype=torch.bool)
    if lacking:
        valid[1, : sizes[0]] = False
        valid[2, sizes[0] :] = False
    for masker in (DirichletMasker(), WholeKindMasker()):
        joint = cells(sizes, valid)
        scores = masker.score(joint, Draws(seed, 1, ids)).scores
        assert torch.isfinite(scores).all()
        assert torch.equal(scores[3:4], masker.score(cells(sizes, valid[3:4]), Draws(seed, 1, ids[3:4])).scores)
        plan = plan_from_scores(scores, ratio, valid)
        for row in range(5):
            there = int(valid[row].sum())
            kept = count_kept(there, ratio) if there > 1 else there
            assert int(plan.keep_ok[row].sum()) == kept and int(plan.hide_ok[row].sum()) == there - kept
            listed = torch.cat([plan.keep[row][plan.keep_ok[row]], plan.hide[row][plan.hide_ok[row]]])
            assert sorted(listed.tolist()) == valid[row].nonzero().flatten().tolist()


def test_shares_are_uniform_over_two_kinds():
    """Dirichlet(1, 1) is uniform, so of 9 visible cells each split from 0:9 to 9:0 is about as likely (Webster rounds the ends half)."""
    sizes, ids = [20, 20], torch.arange(20000)
    plan = plan_from_scores(DirichletMasker().score(cells(sizes), Draws(0, 0, ids)).scores, 31 / 40)
    first = counts(plan.keep, cells(sizes).kind, None, 2)[:, 0].numpy()
    shares = np.bincount(first, minlength=10) / len(first)
    np.testing.assert_allclose(shares[1:9], 1 / 9, atol=0.01)
    np.testing.assert_allclose(shares[[0, 9]], 1 / 18, atol=0.01)


def test_a_small_kind_leaves_its_seats_to_the_others():
    sizes, ids = [2, 30], torch.arange(500)
    plan = plan_from_scores(DirichletMasker().score(cells(sizes), Draws(0, 0, ids)).scores, 0.5)
    found = counts(plan.keep, cells(sizes).kind, None, 2)
    assert (found.sum(1) == 16).all() and (found[:, 0] <= 2).all() and set(found[:, 0].tolist()) == {0, 1, 2}


def test_within_a_kind_every_cell_is_as_likely():
    plan = plan_from_scores(DirichletMasker().score(cells([8, 8]), Draws(1, 0, torch.arange(8000))).scores, 0.5)
    kept = torch.zeros(8000, 16).scatter(1, plan.keep, 1.0).mean(0)
    np.testing.assert_allclose(kept, 0.5, atol=0.02)


def test_a_whole_kind_is_hidden_and_each_as_often():
    sizes, ids = [6, 10, 4], torch.arange(3000)
    plan = plan_from_scores(WholeKindMasker().score(cells(sizes), Draws(0, 0, ids)).scores, 0.5)
    hidden = counts(plan.hide, cells(sizes).kind, None, 3)
    whole = hidden == torch.tensor(sizes)
    assert whole.any(1).all()
    np.testing.assert_allclose(whole.float().mean(0), 1 / 3, atol=0.04)


def test_a_kind_that_is_not_there_is_not_drawn():
    valid = torch.ones(400, 8, dtype=torch.bool)
    valid[:, :4] = False
    scores = WholeKindMasker().score(cells([4, 2, 2], valid), Draws(0, 0, torch.arange(400))).scores
    drawn = (scores >= 1)[:, :]
    assert not drawn[:, :4].any() and (drawn[:, 4:].sum(1) == 2).all()


def test_without_kinds_all_cells_are_of_one():
    plain = Cells(None, torch.zeros(12, 1))
    scores = DirichletMasker().score(plain, Draws(0, 0, torch.arange(3))).scores
    assert scores.shape == (3, 12) and (WholeKindMasker().score(plain, Draws(0, 0, torch.arange(3))).scores >= 1).all()
