"""What is really missing is predicted from what is known, which comes back untouched."""

import contract
import pytest
import torch

from mae_core.applications.impute import impute
from mae_core.modalities import MODALITIES

NAN = float("nan")


def subject(modality: str, example: str, batch: int = 3) -> contract.Subject:
    kind = contract.KINDS[modality]
    case = {"modality": modality, "example": example, "masker": kind.maskers[0], "encoder": "vit", "decoder": "joint"}
    case |= {"target": kind.default_target, "objective": "reconstruction", "ratio": 0.5, "batch": batch}
    return contract.Subject(case)


@pytest.mark.parametrize("modality", list(MODALITIES))
def test_what_is_known_comes_back_bit_equal(modality):
    for example in contract.EXAMPLES[modality]:
        s = subject(modality, example)
        made = impute(s.model, s.raw)
        assert made.filled.dtype == s.raw.dtype and made.missing.shape == s.raw.shape
        assert contract.alike(made.filled[~made.missing], s.raw[~made.missing])
        assert bool(made.missing.any()) == bool(s.model.modality.lacking(s.raw).any())


@pytest.mark.parametrize(("modality", "example"), [("table", "mixed"), ("series", "three with gaps")])
def test_nothing_that_is_missing_stays_so(modality, example):
    s = subject(modality, example)
    assert s.raw.isnan().any()
    made = impute(s.model, s.raw)
    assert torch.equal(made.missing, s.raw.isnan()) and not made.filled.isnan().any()


@pytest.mark.parametrize(("modality", "example"), [("table", "mixed"), ("series", "three with gaps")])
def test_what_stands_in_for_the_missing_reaches_no_prediction(modality, example, monkeypatch):
    s = subject(modality, example)
    expected = impute(s.model, s.raw)
    monkeypatch.setattr(s.model.modality, "trivial", lambda raw, hidden: torch.where(hidden, 1.0, raw))
    found = impute(s.model, s.raw)
    assert torch.equal(found.filled, expected.filled)


def test_samples_do_not_depend_on_what_others_lack():
    s = subject("series", "three with gaps")
    whole = impute(s.model, s.raw).filled
    for i in range(len(s.raw)):
        torch.testing.assert_close(impute(s.model, s.raw[i : i + 1]).filled[0], whole[i], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("modality", "example"), [("table", "mixed"), ("series", "one channel")])
def test_a_sample_of_which_nothing_is_known_gets_what_the_model_knows_of_all(modality, example):
    s = subject(modality, example)
    s.raw[1] = NAN
    made = impute(s.model, s.raw)
    assert torch.isfinite(made.filled).all() and made.missing[1].all()


def test_a_gap_in_every_cell_leaves_something_to_predict_from():
    s = subject("series", "one channel")
    s.raw[:, :, ::4] = NAN  # a cell has four moments
    made = impute(s.model, s.raw)
    assert torch.isfinite(made.filled).all() and torch.equal(made.missing, s.raw.isnan())
    other = s.raw.clone()
    other[0, 0, 1] += 1  # of the first cell, from which its neighbours are predicted, and not itself
    moved = impute(s.model, other).filled
    assert moved[0, 0, 0] == made.filled[0, 0, 0] and moved[0, 0, 4] != made.filled[0, 0, 4]


def test_beliefs_cover_what_is_missing_alone():
    s = subject("table", "mixed")
    made = impute(s.model, s.raw)
    number = s.model.modality.columns.number.expand_as(made.missing)
    assert made.belief is not None
    assert torch.equal(~made.belief.low.isnan(), made.missing & number)
    assert torch.equal(~made.belief.probability.isnan(), made.missing & ~number)


@pytest.mark.parametrize(("modality", "example"), [("table", "mixed"), ("series", "three with gaps")])
def test_as_much_is_hidden_as_in_training(modality, example, monkeypatch):
    s = subject(modality, example)
    plans, reconstruct = [], s.model.reconstruct
    monkeypatch.setattr(s.model, "reconstruct", lambda raw, plan: plans.append(plan) or reconstruct(raw, plan=plan))
    s.raw[0] = s.sample(8)[1] if modality == "table" else s.raw[0]
    impute(s.model, s.raw, passes=3)
    cells, lacking = s.model.modality.split(s.raw), s.model.modality.lacking(s.raw)
    assert len(plans) == 3 and len({tuple(plan.hide[0].tolist()) for plan in plans}) > 1
    for plan in plans:
        for i, absent in enumerate(lacking & ~cells.valid):
            shown, hidden = set(plan.keep[i][plan.keep_ok[i]].tolist()), set(plan.hide[i][plan.hide_ok[i]].tolist())
            pool = set((cells.valid | lacking)[i].nonzero().flatten().tolist())
            assert shown | hidden == pool and not shown & hidden and set(absent.nonzero().flatten().tolist()) <= hidden
            assert len(hidden) >= int(len(pool) * 0.5)
