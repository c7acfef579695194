"""The learning rate: up in a line, down in half a cosine."""

from itertools import pairwise

import pytest

from mae_core.training.schedule import lr_at, peak_lr


def test_it_rises_in_equal_steps_to_the_peak():
    rates = [lr_at(step, 100, 2.0, 0.1) for step in range(11)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[9] == rates[10] == 2.0


def test_it_falls_along_half_a_cosine_and_ends_near_zero():
    assert lr_at(55, 100, 2.0, 0.1) == pytest.approx(1.0)
    rates = [lr_at(step, 100, 2.0, 0.1) for step in range(10, 100)]
    assert all(a > b > 0 for a, b in pairwise(rates))
    assert rates[-1] < 2.0 * 1e-3


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.07, 0.99])
def test_short_runs_have_a_rate_at_every_step(steps, warmup):
    assert all(0 < lr_at(step, steps, 1.0, warmup) <= 1 for step in range(steps))


def test_the_peak_is_proportional_to_the_batch():
    assert peak_lr(512) == 2 * peak_lr(256) == 2 * 4e-3
    assert peak_lr(128, base_lr=1e-3) == 5e-4
