"""Masks that a teacher leads."""

import math

import pytest
import torch

from mae_core.cells import Cells, Context, Taught
from mae_core.draws import Draws
from mae_core.masking.led import HINTS, LAST, AttentionMasker, LossRankedMasker
from mae_core.masking.plan import plan_from_scores

N, ROWS = 40, 3000
CELLS = Cells(None, torch.arange(float(N)).unsqueeze(-1))
DRAWS = Draws(0, 0, torch.arange(ROWS))
RISING = torch.arange(float(N)).expand(ROWS, -1)


def hidden(masker, said, ratio, progress=1.0, cells=CELLS):
    """(ROWS, N) bool."""
    scores = masker.score(cells, DRAWS, Context(progress, said)).scores
    plan = plan_from_scores(scores, ratio, cells.valid)
    marks = torch.zeros(ROWS, N + 1, dtype=torch.bool)
    ok = torch.ones_like(plan.hide, dtype=torch.bool) if plan.hide_ok is None else plan.hide_ok
    return marks.scatter(1, torch.where(ok, plan.hide, N), True)[:, :N]


def test_the_most_attended_are_hidden_but_for_hints():
    often = hidden(AttentionMasker(), Taught(attention=RISING), 0.5).float().mean(0)
    upper, bound = often[N // 2 :], 5 * math.sqrt(HINTS * (1 - HINTS) / ROWS)
    assert (upper - (1 - HINTS)).abs().max() < bound, "a tenth of the upper half is shown, anyone as often"
    assert (often[: N // 4] < 0.01).all(), "what takes their place is the next most attended"


@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
def test_the_ranking_decides_a_growing_share(progress):
    often = hidden(LossRankedMasker(), Taught(difficulty=RISING), 0.75, progress).float().mean(0)
    hard = round(LAST * progress * N)
    assert (often[N - hard :] == 1).all()
    expected = (30 - hard) / (N - hard)
    assert (often[: N - hard] - expected).abs().max() < 5 * math.sqrt(0.25 / ROWS), "the rest is random"


def test_places_count_valid_cells_alone():
    valid = torch.ones(ROWS, N, dtype=torch.bool)
    valid[:, 20:] = False
    cells = CELLS._replace(valid=valid)
    for masker, said in (
        (AttentionMasker(), Taught(attention=RISING)),
        (LossRankedMasker(), Taught(difficulty=RISING)),
    ):
        found = hidden(masker, said, 0.5, cells=cells)
        assert not found[:, 20:].any() and (found.sum(1) == 10).all()
        assert found[:, 10:20].float().mean() > 0.85


def test_each_part_of_joint_samples_has_hardest_cells_of_its_own():
    """One part's numbers are far above the other's: they were never compared."""
    kind = torch.cat([torch.zeros(24), torch.ones(16)]).long()
    valid = torch.ones(ROWS, N, dtype=torch.bool)
    valid[:, 20:24] = False
    said = Taught(difficulty=RISING + 100 * (1 - kind))
    often = hidden(LossRankedMasker(), said, 0.75, cells=CELLS._replace(kind=kind, valid=valid)).float().mean(0)
    hardest = torch.zeros(N, dtype=torch.bool)
    hardest[10:20] = hardest[32:] = True
    assert (often[hardest] == 1).all() and not often[20:24].any()
    assert (often[~hardest & valid[0]] - 0.5).abs().max() < 5 * math.sqrt(0.25 / ROWS), "the rest is random"


@pytest.mark.parametrize("masker", [AttentionMasker(), LossRankedMasker()])
@pytest.mark.parametrize("context", [None, Context(), Context(0.5, Taught())])
def test_without_a_teacher_there_is_no_such_mask(masker, context):
    with pytest.raises(ValueError, match=f"led by a teacher's {masker.taught}"):
        masker.score(CELLS, DRAWS, context)
