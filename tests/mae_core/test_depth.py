"""Stochastic depth: as often as said, means kept, the same for every worker, never in evaluation."""

import pytest
import torch

from mae_core.depth import gates
from mae_core.draws import Draws
from mae_core.evaluation.classifier import Classifier
from mae_core.model import MaskedAutoencoder
from mae_core.training.loop import Settings, fit, start
from mae_core.training.state import load_checkpoint, save_checkpoint

SIZES = {
    "vit": {"kind": "vit", "width": 16, "depth": 3, "heads": 2, "drop_path": 0.5},
    "conv": {"kind": "conv", "width": 16, "depth": 3, "drop_path": 0.5, "kernel": 3},
}


@pytest.fixture(params=SIZES)
def model(request, make_config):
    config = make_config()
    config["encoder"] = SIZES[request.param]
    found = MaskedAutoencoder.build(config)
    with torch.no_grad():
        for parameter in found.encoder.parameters():
            parameter.add_(0.1)
    return found


def test_the_chance_grows_evenly_and_means_are_kept():
    found = gates(Draws(3, 5, torch.arange(20_000)), 0.6, 4, 2)
    assert found.shape == (20_000, 4, 2)
    dropped = (found == 0).float().mean((0, 2))
    torch.testing.assert_close(dropped, torch.tensor([0.0, 0.2, 0.4, 0.6]), rtol=0, atol=0.01)
    torch.testing.assert_close(found.mean((0, 2)), torch.ones(4), rtol=0, atol=0.02)
    assert gates(Draws(3, 5, torch.arange(1000)), 0.6, 1).eq(0).float().mean() == pytest.approx(0.6, abs=0.05)


def test_a_sample_drops_the_same_in_any_batch():
    ids = torch.arange(30)
    whole = gates(Draws(1, 2, ids), 0.5, 3, 2)
    assert torch.equal(gates(Draws(1, 2, ids[[7, 3]]), 0.5, 3, 2), whole[[7, 3]])
    assert not torch.equal(gates(Draws(1, 3, ids), 0.5, 3, 2), whole)


def test_training_drops_and_evaluation_does_not(model, make_raw):
    raw, draws = make_raw(6, model.config), Draws(0, 1, torch.arange(6))
    plan = model.plan(raw, 0.5, "random", 0)

    def tokens(draws):
        return model.encoder(model.modality, model.modality.split(raw)._replace(draws=draws), plan).tokens

    still = tokens(None)
    assert not torch.equal(tokens(draws), still) and torch.equal(tokens(draws), tokens(draws))
    assert not torch.equal(tokens(draws._replace(step=2)), tokens(draws))
    model.eval()
    assert torch.equal(tokens(draws), still)
    assert torch.equal(model.train().encode(raw), model.eval().encode(raw))


def test_recomputed_blocks_drop_the_same(model, make_raw):
    raw, draws = make_raw(6, model.config), Draws(0, 1, torch.arange(6))
    found = []
    for on in (False, True):
        model.recompute_activations(on)
        model.zero_grad()
        model(raw, draws).total.backward()
        found.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found))


def test_a_resumed_run_drops_what_an_unbroken_one_does(model, make_raw, tmp_path):
    samples, settings = make_raw(8, model.config).numpy(), Settings(steps=4, batch_size=4, lr=1e-3, precision="fp32")
    whole, first, second = (start(model.config, settings) for _ in range(3))
    unbroken = [progress.loss for progress in fit(whole, samples, settings, report_every=1)]
    for _ in fit(first, samples, settings, report_every=2):
        break
    save_checkpoint(first, tmp_path, "run")
    assert load_checkpoint(second, tmp_path, "run") == 2
    assert [progress.loss for progress in fit(second, samples, settings, report_every=1)] == unbroken[2:]
    a, b = whole.tensors(), second.tensors()
    assert all(torch.equal(value, b[name]) for name, value in a.items())


def test_fine_tuning_drops_too(model, make_raw):
    made = Classifier.from_pretrained(model, ["a", "b"])
    raw, draws = make_raw(6, model.config), Draws(0, 1, torch.arange(6))
    assert not torch.equal(made(raw, draws=draws), made(raw))
    made.eval()
    assert torch.equal(made(raw, draws=draws), made(raw))


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_other_rates_are_refused(rate, make_config):
    with pytest.raises(ValueError, match=r"drop_path .* outside"):
        MaskedAutoencoder.build(make_config(encoder={"drop_path": rate}))
