"""A share of the hidden cells: exact counts, drawn at random, the order kept, padding last."""

import pytest
import torch

from mae_core.cells import Plan
from mae_core.draws import Draws
from mae_core.masking.plan import plan_from_scores
from mae_core.masking.share import count_shared, shared
from mae_core.model import MaskedAutoencoder

DRAWS = Draws(0, 3, torch.arange(40))


def plan_of(valid: torch.Tensor | None = None) -> Plan:
    return plan_from_scores(DRAWS.uniform("mask", 20), 0.75, valid)


def test_all_is_the_plan_itself():
    plan = plan_of()
    assert shared(plan, 1.0, DRAWS) is plan


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.99])
def test_counts_are_exact_and_the_order_stays(share):
    plan = plan_of()
    found = shared(plan, share, DRAWS)
    assert found.hide.shape[1] == count_shared(15, share) == max(int(15 * share), 1)
    assert torch.equal(found.keep, plan.keep) and found.hide_ok is None
    for before, after in zip(plan.hide.tolist(), found.hide.tolist()):
        assert after == [cell for cell in before if cell in set(after)]


def test_every_hidden_cell_comes_as_often():
    plan = plan_of()
    hits = torch.zeros(15)
    for step in range(200):
        chosen = shared(plan, 0.4, DRAWS._replace(step=step)).hide
        hits += (plan.hide.unsqueeze(2) == chosen.unsqueeze(1)).any(2).float().mean(0)
    torch.testing.assert_close(hits / 200, torch.full((15,), 0.4), rtol=0, atol=0.03)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_ragged_rows_keep_their_own_share(share):
    valid = torch.arange(20) < (torch.arange(40) % 20 + 1)[:, None]
    plan = plan_of(valid)
    found = shared(plan, share, DRAWS)
    assert plan.hide_ok is not None and found.hide_ok is not None
    for row in range(40):
        hidden = plan.hide[row][plan.hide_ok[row]].tolist()
        asked = found.hide[row][found.hide_ok[row]].tolist()
        assert len(asked) == count_shared(len(hidden), share)
        assert asked == [cell for cell in hidden if cell in set(asked)]
        ok = found.hide_ok[row].tolist()
        assert ok == sorted(ok, reverse=True), "padding comes last"


def test_a_sample_is_asked_the_same_in_any_batch():
    plan = plan_of()
    one = Plan(plan.keep[7:8], plan.hide[7:8])
    alone = shared(one, 0.4, DRAWS._replace(ids=DRAWS.ids[7:8]))
    assert torch.equal(alone.hide[0], shared(plan, 0.4, DRAWS).hide[7])


@pytest.mark.parametrize("kind", ["cross", "linear"])
def test_training_asks_a_share_and_says_of_it_what_it_would_among_all(make_config, make_raw, kind):
    sizes = {"kind": kind, "width": 8, "heads": 2, **({"depth": 2} if kind == "cross" else {})}
    config = make_config()
    some, every = ({**config, "decoder": {**sizes, "share": share}} for share in (0.5, 1.0))
    model, whole = MaskedAutoencoder.build(some), MaskedAutoencoder.build(every)
    raw, draws = make_raw(3, config), Draws(0, 1, torch.arange(3))
    part, all_ = model(raw, draws), whole(raw, draws)
    assert all_.per_cell.shape == (3, 12) and part.per_cell.shape == (3, 6) and part.hidden == 18
    torch.testing.assert_close(part.total.detach(), part.per_cell.mean())
    for row in range(3):
        distance = (part.per_cell[row].unsqueeze(1) - all_.per_cell[row]).abs().min(1).values
        assert (distance < 1e-6).all(), "a cell's error does not depend on which others are asked for"
    assert model.reconstruct(raw, 0.75).plan.hide.shape[1] == 12, "evaluation predicts all"


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_other_shares_are_refused(make_config, share):
    config = make_config()
    config["decoder"] = {"kind": "cross", "width": 8, "depth": 1, "heads": 2, "share": share}
    with pytest.raises(ValueError, match=r"share .* is outside"):
        MaskedAutoencoder.build(config)
