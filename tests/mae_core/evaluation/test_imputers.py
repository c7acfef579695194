"""What stands beside a model on tables: imputations and boosting, fitted on train alone."""

import numpy as np
import pytest
import torch

from mae_core.evaluation import imputers
from mae_core.evaluation.boosting import GRID, fit_boosting
from mae_core.evaluation.imputers import knn_fill, ridge_fill
from mae_core.evaluation.linear import GRID as LINEAR_GRID
from mae_core.evaluation.reconstruct import fill_quality
from mae_core.modalities.columns import describe
from mae_core.modalities.table import TableModality
from mae_core.model import MaskedAutoencoder

KINDS = [
    {"name": "x", "kind": "number"},
    {"name": "twice", "kind": "number"},
    {"name": "sign", "kind": "category", "categories": ["never", "minus", "plus"]},
]


@pytest.fixture(scope="module")
def rows():
    x = np.random.default_rng(0).normal(3, 2, 400)
    return np.stack([x, 2 * x + 1, np.where(x > 3, 2, 1)], 1).astype(np.float32)


@pytest.fixture(scope="module")
def model(rows):
    found = describe(rows, np.arange(300), KINDS)
    config = {
        "modality": {"kind": "table", "columns": found.columns, "gaps": found.gaps},
        "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
        "decoder": {"kind": "joint", "width": 8, "depth": 1, "heads": 2},
        "masking": {"strategy": "random", "ratio": 0.5},
        "objective": {"reconstruction": 1.0, "target": "columns"},
    }
    return MaskedAutoencoder.build(config).eval()


@pytest.mark.parametrize("column", [0, 1, 2])
@pytest.mark.parametrize("fill", [knn_fill, ridge_fill])
def test_what_follows_from_the_rest_is_found(model, rows, fill, column):
    raw = torch.from_numpy(rows[300:])
    hidden = torch.zeros_like(raw, dtype=torch.bool)
    hidden[:, column] = True
    filled = fill(raw, hidden, rows[:300], model.modality.columns)
    assert torch.equal(filled[~hidden], raw[~hidden]) and filled.dtype == raw.dtype
    if column == 2:
        assert (filled[:, 2] == raw[:, 2]).float().mean() > 0.9 and set(filled[:, 2].tolist()) <= {1.0, 2.0}
    else:
        assert float((filled - raw)[:, column].abs().mean()) < 0.25 * float(raw[:, column].std())


def test_missing_values_stay_missing(model, rows):
    train, raw = rows[:300].copy(), torch.from_numpy(rows[300:].copy())
    train[::7, 1] = raw[::5, 1] = float("nan")
    hidden = torch.zeros_like(raw, dtype=torch.bool)
    hidden[:, 0] = True
    for fill in (knn_fill, ridge_fill):
        filled = fill(raw, hidden, train, model.modality.columns)
        assert filled[::5, 1].isnan().all() and torch.isfinite(filled[:, 0]).all()


def test_the_ridge_learns_from_all_of_train(model):
    n = 9 * imputers.MOST_ROWS
    few = np.isin(np.arange(n), np.linspace(0, n - 1, imputers.MOST_ROWS).round())
    x = np.random.default_rng(3).normal(3, 2, n)
    train = np.stack([x, np.where(few, -x, 2 * x + 1), np.where(x > 3, 2, 1)], 1).astype(np.float32)
    train[::50, 0] = np.nan
    raw = torch.tensor([[1.0, 3.0, 1.0], [5.0, 11.0, 2.0]])
    hidden = torch.tensor([[False, True, False]] * 2)
    filled = ridge_fill(raw, hidden, train, model.modality.columns)
    assert filled[1, 1] > filled[0, 1], "one row of nine falls, and those are spread evenly"


def test_a_row_without_gaps_costs_no_system_of_equations(model, rows, monkeypatch):
    solved, solve = [], torch.linalg.solve
    monkeypatch.setattr(torch.linalg, "solve", lambda a, b: solved.append(len(a)) or solve(a, b))
    train, raw = rows[:300].copy(), torch.from_numpy(rows[300:])
    train[-1, 0] = np.nan
    ridge_fill(raw, torch.ones_like(raw, dtype=torch.bool) & (torch.arange(3) == 0), train, model.modality.columns)
    assert sum(solved) == len(imputers.RIDGES) * (60 + imputers.ROUNDS) + imputers.ROUNDS + len(raw)


def test_the_bank_holds_likelihood_and_learned_fills(model, rows):
    found = fill_quality(model, rows[300:], TableModality.bank[0], rows[:300])
    assert set(found) == {"model", "column_fill", "knn_fill", "ridge_fill", "marginal"}
    assert list(found["model"]) == ["rmse_hidden", "accuracy_hidden", "nll_hidden"]
    assert np.isfinite(found["model"]["nll_hidden"]).all() and (found["marginal"]["nll_hidden"] > 0).all()
    assert np.nanmean(found["ridge_fill"]["rmse_hidden"]) < np.nanmean(found["column_fill"]["rmse_hidden"])
    assert set(fill_quality(model, rows[300:], TableModality.bank[0])) == {"model", "column_fill", "marginal"}


def test_boosting_learns_what_no_line_separates():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(600, 2)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    probe = fit_boosting(x[:300], y[:300], x[300:450], y[300:450])
    assert probe.validation > 0.9 and np.mean(probe.predict(x[450:]) == y[450:]) > 0.9
    assert len(GRID) == len(LINEAR_GRID)
