"""The law of losses: what made the runs is found again, foretells larger ones, and says how to spend a budget."""

from __future__ import annotations

import numpy as np
import pytest

from mae_core.scaling import Law, Run, fit_law

TRUE = Law(floor=0.12, a=6.0, alpha=0.45, b=40.0, beta=0.5)


def runs(noise=0.0, sizes=(2e4, 8e4, 3e5, 1.2e6), amounts=(2e4, 6e4, 2e5)):
    random = np.random.default_rng(0)
    return [Run(n, d, TRUE.loss(n, d) * np.exp(noise * random.normal())) for n in sizes for d in amounts]


def test_the_law_that_made_the_runs_is_found_again():
    found = fit_law(runs())
    assert found == pytest.approx(TRUE, rel=0.02)


def test_small_noisy_runs_foretell_a_larger_one():
    found = fit_law(runs(noise=0.005))
    assert found.loss(5e6, 8e5) == pytest.approx(TRUE.loss(5e6, 8e5), rel=0.1)


def test_one_run_that_went_wrong_does_not_bend_the_law():
    wrong = runs()
    wrong[5] = wrong[5]._replace(loss=2 * wrong[5].loss)
    assert fit_law(wrong).loss(5e6, 8e5) == pytest.approx(TRUE.loss(5e6, 8e5), rel=0.1)


def test_no_other_run_of_that_cost_is_better_than_the_best():
    best = TRUE.best(1e15, 6.0)
    assert best.parameters * best.samples * 6 == pytest.approx(1e15)
    for factor in (0.5, 0.9, 1.1, 2.0):
        assert TRUE.loss(factor * best.parameters, best.samples / factor) > best.loss


def test_where_size_is_worth_nothing_there_is_no_best_one():
    with pytest.raises(ValueError, match="alpha is 0"):
        TRUE._replace(alpha=0.0).best(1e15, 6.0)


def test_too_few_runs_are_refused():
    with pytest.raises(ValueError, match="there are 3 runs of 1 sizes and 3 amounts"):
        fit_law(runs(sizes=(2e4,)))


def test_a_loss_of_nothing_is_refused():
    with pytest.raises(ValueError, match="losses have to be above 0"):
        fit_law([run._replace(loss=0.0) for run in runs()])
