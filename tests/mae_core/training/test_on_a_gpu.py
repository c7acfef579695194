"""On a GPU: every part computes what it does on the CPU, in single precision, and whole trainings do, steps captured or not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from contract import Subject, factors_of, name_of, possible
from pairwise import pairwise

from mae_core.modalities import MODALITIES
from mae_core.training.loop import Settings, fit, start

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="computes on a GPU")
SETTINGS = Settings(steps=8, batch_size=16, lr=1e-3, precision="fp32", compiled="never")


def policy(**options: Any) -> dict[str, Any]:
    return {"masking": {"strategy": "policy", "options": {"hidden": 16, "random": 0.2, **options}}}


TRAININGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "two looks in passes of five": ({"masking": {"looks": 2}}, {"micro_batch": 5}),
    "random ratios, averaged weights": ({"masking": {"ratio_spread": 0.2}}, {"ema": 0.9}),
    "blocks, recomputed": ({"masking": {"strategy": "block"}}, {"recompute": True}),
    "edges": ({"masking": {"strategy": "edges"}}, {}),
    "attention": ({"masking": {"strategy": "attention"}}, {}),
    "loss ranked": ({"masking": {"strategy": "loss_ranked"}, "objective": {"loss_ranking": 1.0}}, {}),
    "policy, error": (policy(reward="error"), {}),
    "policy, progress": (policy(reward="progress", plans=1), {}),
    "policy, probe": (policy(reward="probe"), {}),
    "policy, ppo": (policy(update="ppo"), {}),
    "bandit": ({"masking": {"strategy": "bandit", "options": {"families": ["random", "grid"], "every": 2}}}, {}),
    "bandit, ucb": (
        {"masking": {"strategy": "bandit", "options": {"families": ["random", "block"], "rule": "ucb", "every": 2}}},
        {},
    ),
    "hog": ({"objective": {"target": "hog"}}, {}),
    "fourier": ({"objective": {"target": "fourier"}}, {}),
    "latent": ({"objective": {"target": "latent"}}, {}),
    "pixels and latent": ({"objective": {"targets": {"latent": 1.0}}}, {}),
    "pairs": ({"objective": {"mask_contrastive": 0.3, "uniformity": 0.01, "projector": 16}}, {}),
    "recoloured pairs": (
        {"objective": {"mask_contrastive": 0.3, "pair": "augmented"}},
        {"crop": 0.6, "flip": True, "color_jitter": 0.5},
    ),
    "vicreg": ({"objective": {"invariance": 0.3, "variance": 0.3, "covariance": 0.03}}, {}),
    "gradient norms": ({"objective": {"uniformity": 0.01}}, {"log_grad_norms": True}),
    "cross, a share": ({"decoder": {"kind": "cross", "share": 0.5}}, {}),
    "conv": (
        {
            "encoder": {"kind": "conv", "width": 16, "depth": 2, "stages": 2},
            "decoder": {"kind": "unet", "width": 16, "depth": 1},
        },
        {},
    ),
    "hybrid, rotary": ({"encoder": {"kind": "hybrid", "positions": "rope"}}, {}),
}
"""Name → what the config changes, and what its settings change."""


@pytest.fixture(autouse=True)
def full_precision():
    """Convolutions of a GPU round to ten bits unless they are told."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def trained_as(make_config):
    """The config and the settings of a row of ``TRAININGS``; a section that names its width is whole."""

    def make(name: str) -> tuple[dict[str, Any], Settings]:
        changes, told = TRAININGS[name]
        plain = make_config(
            modality={"size": [16, 16], "patch": 4}, encoder={"width": 32}, decoder={"width": 16, "depth": 1}
        )
        sections = {name: {**({} if "width" in one else plain[name]), **one} for name, one in changes.items()}
        return {**plain, **sections}, replace(SETTINGS, **told)

    return make


def losses(config: dict[str, Any], settings: Settings, device: str) -> list[float]:
    rng = np.random.default_rng(0)
    samples = rng.integers(0, 256, (64, 3, 16, 16), dtype=np.uint8)
    labels = np.arange(64) % 4
    state = start(config, settings, device)
    return [progress.loss for progress in fit(state, samples, settings, report_every=1, labels=labels)]


@pytest.mark.parametrize("modality", list(MODALITIES))
def test_every_part_computes_what_it_does_on_the_cpu(modality):
    wrong = []
    for case in pairwise(factors_of(modality), possible):
        subject = Subject(case)
        expected, grads = subject.model(subject.raw, subject.draws), subject.gradients(subject.model)
        subject.model.cuda()
        subject.raw, subject.draws = subject.raw.cuda(), subject.draws._replace(ids=subject.draws.ids.cuda())
        found = subject.model(subject.raw, subject.draws)
        try:
            torch.testing.assert_close(found.total.cpu(), expected.total, rtol=1e-3, atol=1e-4)
            again = subject.gradients(subject.model)
            assert again.keys() == grads.keys()
            for name, value in again.items():
                torch.testing.assert_close(
                    value.cpu(), grads[name], rtol=1e-2, atol=1e-3, msg=lambda m, n=name: f"{n}: {m}"
                )
        except AssertionError as problem:
            wrong.append(f"{name_of(case)}: {problem}")
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:20])


@pytest.mark.parametrize("name", list(TRAININGS))
def test_trainings_lose_what_they_lose_on_the_cpu(name, trained_as):
    config, settings = trained_as(name)
    expected = losses(config, settings, "cpu")
    assert losses(config, settings, "cuda") == pytest.approx(expected, rel=2e-3)
    assert losses(config, replace(settings, graphs=False), "cuda") == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("name", list(TRAININGS))
def test_trainings_in_16_bits_come_close(name, trained_as):
    config, settings = trained_as(name)
    found = losses(config, replace(settings, precision="bf16"), "cuda")
    assert all(np.isfinite(found)) and found[0] == pytest.approx(losses(config, settings, "cpu")[0], rel=0.03)
