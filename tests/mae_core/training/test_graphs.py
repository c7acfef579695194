"""Captured steps: what keeps them from being captured, and on a GPU that they compute what eager ones do."""

from dataclasses import replace

import pytest
import torch

from mae_core.training.graphs import why_not
from mae_core.training.loop import Settings, TrainingDiverged, fit, start

CONFIG = {
    "modality": {"kind": "image", "channels": 1, "size": [16, 16], "patch": 4, "mean": [0.5], "std": [0.25]},
    "encoder": {"kind": "vit", "width": 32, "depth": 2, "heads": 2, "drop_path": 0.1},
    "decoder": {"kind": "joint", "width": 16, "depth": 1, "heads": 2},
    "masking": {"strategy": "random", "ratio": 0.75, "ratio_spread": 0.1},
    "objective": {"reconstruction": 1.0, "mask_contrastive": 0.1, "target": "pixels"},
}
SETTINGS = Settings(steps=60, batch_size=16, lr=1e-3, crop=0.6, flip=True, precision="fp32")
CUDA = torch.device("cuda")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="captures on a GPU")


def samples(n=64):
    return torch.randint(0, 256, (n, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8).numpy()


def test_what_keeps_steps_from_being_captured():
    state = start(CONFIG, SETTINGS)
    model = state.model
    assert "CUDA" in why_not(model, torch.device("cpu"), 1, False)
    assert why_not(model, CUDA, 1, False) == ""
    assert "workers" in why_not(model, CUDA, 2, False)
    assert "learned" in why_not(model, CUDA, 1, True)
    model.recompute_activations(1)
    assert "recomputing" in why_not(model, CUDA, 1, False)
    ranked = {**CONFIG, "masking": {"strategy": "loss_ranked", "ratio": 0.75}}
    ranked["objective"] = {**CONFIG["objective"], "loss_ranking": 1.0}
    assert "progress" in why_not(start(ranked, SETTINGS).model, CUDA, 1, False)


@needs_gpu
def test_captured_steps_compute_what_eager_ones_do():
    found = {}
    for graphs in (True, False):
        settings = replace(SETTINGS, graphs=graphs)
        found[graphs] = list(fit(start(CONFIG, settings, CUDA), samples(), settings, report_every=1))
    for captured, eager in zip(found[True], found[False]):
        assert captured.loss == pytest.approx(eager.loss, rel=1e-4), captured.step
        assert captured.grad_norm == pytest.approx(eager.grad_norm, rel=1e-3)


@needs_gpu
def test_steps_without_a_finite_gradient_are_skipped_and_counted():
    settings = replace(SETTINGS, steps=30, max_nonfinite=3)
    state = start(CONFIG, settings, CUDA)
    reports = fit(state, samples(), settings, report_every=5)
    next(reports)
    before = {name: parameter.clone() for name, parameter in state.model.named_parameters()}
    with torch.no_grad():
        state.model.head.bias.fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match="5 steps in a row"):
        next(reports)
    assert state.nonfinite_steps == 5
    for name, parameter in state.model.named_parameters():
        if name != "head.bias":
            assert torch.equal(parameter, before[name]), name
