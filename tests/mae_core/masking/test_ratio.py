"""Ratios of a training: what each kind of schedule draws, how few shapes that makes, and what it costs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from mae_core.draws import Draws
from mae_core.flops import forward_flops
from mae_core.masking.ratio import ratios_of


def drawn(masking, progress, n=400):
    ratios, ids = ratios_of({"ratio": 0.5, **masking}), torch.arange(1)
    return [ratios.at(Draws(0, step, ids), progress) for step in range(n)]


def test_one_ratio_by_default():
    assert set(drawn({}, 0.3)) == {0.5} == set(drawn({"schedule": {"kind": "fixed"}}, 0.9))
    assert ratios_of({"ratio": 0.0, "schedule": {"kind": "linear", "end": 0.9}}).rows == [[0.0]]


def test_a_spread_is_drawn_evenly():
    found = drawn({"ratio_spread": 0.4}, 0.0, 4000)
    counts = np.unique(found, return_counts=True)[1]
    assert len(counts) == 8 and stats.chisquare(counts).pvalue > 1e-3


def test_a_truncated_normal_has_its_mean_and_spread():
    """Against the distribution's own: eight middles of equal parts."""
    schedule = {"kind": "truncated_normal", "deviation": 0.25, "low": 0.5, "high": 1.0}
    ratios = ratios_of({"ratio": 0.55, "schedule": schedule})
    (row,) = ratios.rows
    truth = stats.truncnorm((0.5 - 0.55) / 0.25, (1.0 - 0.55) / 0.25, 0.55, 0.25)
    np.testing.assert_allclose(row, truth.ppf((np.arange(8) + 0.5) / 8), atol=1e-9)
    assert np.mean(row) == pytest.approx(truth.mean(), abs=0.005)


@pytest.mark.parametrize(("kind", "middle"), [("linear", [0.5 + 0.3 * k / 7 for k in range(8)]), ("cosine", None)])
def test_a_curriculum_goes_from_start_to_end(kind, middle):
    masking = {"schedule": {"kind": kind, "end": 0.8}}
    found = [drawn(masking, (step + 0.5) / 64, 1)[0] for step in range(64)]
    assert found[0] == 0.5 and found[-1] == pytest.approx(0.8) and found == sorted(found)
    assert len(set(found)) == 8, "shapes stay few"
    assert drawn(masking, 1.0, 1)[0] == pytest.approx(0.8)
    if middle:
        np.testing.assert_allclose(sorted(set(found)), middle)
    else:
        assert found[8] - found[0] < 0.3 / 7 < found[32] - found[31], "slow at the ends, fast in between"


def test_steps_hold_from_their_point_on():
    masking = {"schedule": {"kind": "steps", "steps": [[0.25, 0.6], [0.5, 0.9]]}}
    assert [drawn(masking, p, 1)[0] for p in (0, 0.24, 0.25, 0.49, 0.5, 1.0)] == [0.5, 0.5, 0.6, 0.6, 0.9, 0.9]
    assert ratios_of({"ratio": 0.5, **masking}).shares() == [(0.25, 0.5), (0.25, 0.6), (0.5, 0.9)]


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ({"kind": "liner"}, "did you mean 'linear'"),
        ({"kind": "linear"}, "end is None"),
        ({"kind": "cosine", "end": 1.0}, "within \\(0, 1\\)"),
        ({"kind": "linear", "stop": 0.9}, "has no 'stop'"),
        ({"kind": "truncated_normal", "low": 0.9, "high": 0.5}, "low < high"),
        ({"kind": "truncated_normal", "deviation": 0.01, "low": 0.9}, "too far from the ratio"),
        ({"kind": "steps", "steps": [[0.5, 0.6], [0.4, 0.7]]}, "shares rising"),
    ],
)
def test_what_is_refused(schedule, said):
    with pytest.raises(ValueError, match=said):
        ratios_of({"ratio": 0.5, "schedule": schedule})


def test_a_spread_goes_with_a_fixed_schedule():
    with pytest.raises(ValueError, match="set it to 0 for linear"):
        ratios_of({"ratio": 0.5, "ratio_spread": 0.1, "schedule": {"kind": "linear", "end": 0.8}})


def test_the_cost_is_the_mean_over_the_training(make_config):
    def cost(**masking):
        return forward_flops(make_config(masking=masking))

    steps = cost(ratio=0.5, schedule={"kind": "steps", "steps": [[0.25, 0.75]]})
    assert steps == pytest.approx(0.25 * cost(ratio=0.5) + 0.75 * cost(ratio=0.75))
