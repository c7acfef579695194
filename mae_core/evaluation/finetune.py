"""Training an encoder with labels: fine-tuning, its twin from scratch, and the supervised control share this loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mae_core.data.augment import Augmentation
from mae_core.data.loader import Batches
from mae_core.draws import Draws
from mae_core.evaluation.classifier import Classifier
from mae_core.training.optim import adamw, param_groups, set_lr
from mae_core.training.precision import choose_precision
from mae_core.training.schedule import averaging_at, lr_at
from mae_core.training.world import World

AS_IS = Augmentation()
"""Changes nothing."""


class Settings(NamedTuple):
    """How a classifier is trained; the same record serves pretrained and scratch networks."""

    steps: int = 150
    batch_size: int = 32
    lr: float = 1e-3
    layer_decay: float = 0.75
    """Each layer learns this much slower than the one above it (Bao et al. 2022; official MAE: 0.65 to 0.75)."""
    weight_decay: float = 0.05
    warmup: float = 0.1
    shift: int = 2
    """Largest translation that the modality's ``jitter`` makes: pixels along each axis for images."""
    clip: float = 1.0
    seed: int = 0
    precision: str = "auto"


class Step(NamedTuple):
    """One training step; the loss is the batch's mean cross-entropy in nats."""

    step: int
    loss: float


def train(
    classifier: Classifier,
    samples: np.ndarray,
    labels: np.ndarray,
    settings: Settings,
    augmentation: Augmentation = AS_IS,
    ema: float = 0.0,
) -> Iterator[Step]:
    """Trains ``classifier`` in place on (n, …) raw samples and (n,) labels 0..classes − 1; yields after every step.

    AdamW, layer decay, warm-up and cosine. Order and shifts are functions of (seed, step) alone.
    Raises ValueError where a loss is not finite.

    Args:
        augmentation: of the pretraining that a control is held against, drawn as there: a function of (seed, step, sample). Fine-tuning has
            none, and averages nothing: both are beside ``settings`` because those are what the fine-tuned heads are saved with.
        ema: decay of the averaged weights that the end leaves in ``classifier``, with the head's statistics averaged alike; 0 = the last.
    """
    device = classifier.head.weight.device
    precision = choose_precision(settings.precision, device)
    groups = param_groups(
        classifier, settings.weight_decay, settings.layer_decay, classifier.layer_of, classifier.layers
    )
    optimizer = adamw(groups, (0.9, 0.999))
    batches = Batches(samples, settings.batch_size, settings.seed, World(), device)
    targets = torch.from_numpy(np.asarray(labels)).to(device)
    moving = [*classifier.parameters(), *(value for value in classifier.norm.buffers() if value.is_floating_point())]
    averaged = [value.detach().clone() for value in moving] if ema else []
    classifier.train()
    try:
        for step in range(settings.steps):
            batch = batches(step)
            # drawn by place in the batch: of few images, one comes several times and is to be moved differently each time
            draws = Draws(settings.seed, step, torch.arange(len(batch.ids), device=device))
            raw = classifier.modality.augment(batch.raw, Draws(settings.seed, step, batch.named), augmentation)
            with precision.autocast(device):
                logits = classifier(classifier.modality.jitter(raw, draws, settings.shift), draws=draws)
            loss = F.cross_entropy(logits.float(), targets[batch.ids])
            loss.backward()
            nn.utils.clip_grad_norm_(classifier.parameters(), settings.clip)
            set_lr(optimizer, lr_at(step, settings.steps, settings.lr, settings.warmup))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            value = float(loss.detach())
            if not np.isfinite(value):
                raise ValueError(f"the loss of step {step} is {value} at lr {settings.lr:g}: lower the learning rate")
            for mean, now in zip(averaged, moving):
                mean.lerp_(now.detach(), 1 - averaging_at(step, ema))
            yield Step(step, value)
    finally:
        batches.close()
    for mean, now in zip(averaged, moving):
        now.detach().copy_(mean)
    classifier.eval()


@torch.no_grad()
def predict(classifier: Classifier, samples: np.ndarray, batch: int = 512, precision: str = "auto") -> np.ndarray:
    """(n, …) raw samples → (n,) predicted class indices."""
    device = classifier.head.weight.device
    classifier.eval()
    found = []
    with choose_precision(precision, device).autocast(device):
        for start in range(0, len(samples), batch):
            raw = torch.from_numpy(np.array(samples[start : start + batch])).to(device)
            found.append(classifier(raw).argmax(1).cpu().numpy())
    return np.concatenate(found) if found else np.zeros(0, np.int64)
