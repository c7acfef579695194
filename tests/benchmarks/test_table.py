"""The benchmark of tables: rows for every mask, imputations beside the model, intervals that cover what they say."""

import numpy as np
import pytest
import torch

from benchmarks.table import iterative, measure
from mae_core.modalities.columns import describe
from mae_core.modalities.table import TableModality
from mae_core.model import MaskedAutoencoder
from mae_core.training.loop import Settings, fit, start


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 1))
    return np.concatenate([x, x + rng.normal(size=(600, 3)) * 0.5], 1).astype(np.float32)


@pytest.fixture(scope="module")
def model(rows):
    found = describe(rows, np.arange(400), [{"name": str(i), "kind": "number"} for i in range(4)])
    config = {
        "modality": {"kind": "table", "columns": found.columns, "gaps": []},
        "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
        "decoder": {"kind": "joint", "width": 16, "depth": 1, "heads": 2},
        "masking": {"strategy": "random", "ratio": 0.5},
        "objective": {"reconstruction": 1.0, "target": "columns"},
    }
    state = start(config, Settings(steps=300, batch_size=64, lr=5e-3, precision="fp32"))
    for _ in fit(state, rows[:400], Settings(steps=300, batch_size=64, lr=5e-3, precision="fp32"), report_every=300):
        pass
    return state.model.eval()


def test_a_trained_model_beats_the_columns_alone_and_knows_how_sure_it_is(model: MaskedAutoencoder, rows):
    found = {row.name: row for row in measure(model, rows[400:], rows[:400], "here")}
    assert set(found) == {
        f"{m.name}_{what}" for m in TableModality.bank for what in ("nats_vs_marginal", "rmse_vs_ridge")
    }
    nats, rmse = found["random-25_nats_vs_marginal"], found["random-25_rmse_vs_ridge"]
    assert nats.ours < nats.baseline and nats.high < 1
    assert rmse.ours < rmse.facts["column_fill_rmse"] and rmse.low <= rmse.ratio <= rmse.high
    assert 0.8 < rmse.facts["inside_90_interval"] < 0.98


def test_iterative_imputation_fills_hidden_numbers_alone(model, rows):
    raw = torch.from_numpy(rows[400:])
    hidden = torch.zeros_like(raw, dtype=torch.bool)
    hidden[:, 1] = True
    filled = iterative(raw, hidden, rows[:400], model.modality)
    assert torch.equal(filled[~hidden], raw[~hidden])
    assert float((filled - raw)[:, 1].square().mean().sqrt()) == pytest.approx(0.5, abs=0.1)
