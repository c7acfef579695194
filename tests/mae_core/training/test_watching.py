"""The probe that is logged while masks are learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mae_core.model import MaskedAutoencoder
from mae_core.training.loop import Settings, fit, start
from mae_core.training.watching import WATCHED, Watch


@pytest.fixture
def bright_and_dark(make_config):
    """A model, samples that are dark or bright, and which of them are."""
    labels = np.arange(60) % 2
    noise = np.random.default_rng(0).integers(0, 60, (60, 3, 8, 8))
    return MaskedAutoencoder.build(make_config()), (noise + 190 * labels[:, None, None, None]).astype(np.uint8), labels


def test_classes_that_differ_are_told_apart_and_others_are_not(bright_and_dark):
    model, samples, labels = bright_and_dark
    assert Watch(samples, labels).says(model, {})["mask/probe"] == 1.0
    assert 0.2 < Watch(samples, labels[np.arange(60) // 2]).says(model, {})["mask/probe"] < 0.8


def test_without_labels_there_is_no_probe(bright_and_dark):
    model, samples, _ = bright_and_dark
    parts = {"mask/reward": torch.tensor(0.5)}
    for unknown in (None, np.full(60, -1), np.where(np.arange(60) == 7, 1, -1)):
        assert Watch(samples, unknown).says(model, parts) == {"mask/reward": 0.5}


def test_few_samples_of_many_are_watched_and_unlabelled_ones_are_not(bright_and_dark):
    _, samples, _ = bright_and_dark
    many = np.broadcast_to(samples[0], (5000, *samples.shape[1:]))
    labels = np.arange(5000) % 3 - 1
    watch = Watch(many, labels)
    assert (
        watch.samples is not None and len(watch.samples) == len(watch.labels) == WATCHED and (watch.labels >= 0).all()
    )


def test_watching_changes_nothing(make_config, bright_and_dark):
    _, samples, labels = bright_and_dark
    config = make_config(masking={"strategy": "policy", "options": {"hidden": 16, "random": 0.0}})
    settings = Settings(steps=4, batch_size=8, lr=1e-3, precision="fp32")
    ends = []
    for given in (labels, None):
        state = start(config, settings)
        *_, last = fit(state, samples, settings, report_every=1, labels=given)
        assert ("mask/probe" in last.masks) == (given is not None)
        ends.append(state.tensors())
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
