"""Training with labels: it learns, it repeats, and shifts move pictures as they should."""

import numpy as np
import pytest
import torch

from mae_core.data.augment import Augmentation
from mae_core.data.loader import Batches
from mae_core.draws import Draws
from mae_core.evaluation.classifier import Classifier
from mae_core.evaluation.finetune import Settings, predict, train
from mae_core.training.world import World

FAST = Settings(steps=40, batch_size=16, lr=3e-3, shift=1, precision="fp32")


def trained(config, samples, labels, settings=FAST):
    made = Classifier.build(config, ["a", "b", "c"])
    steps = list(train(made, samples, labels, settings))
    return made, steps


def test_learns_and_leaves_eval_mode(config, images):
    samples, labels = images(60)
    made, steps = trained(config, samples, labels)
    assert [one.step for one in steps] == list(range(40)) and not made.training
    assert steps[0].loss == pytest.approx(np.log(3), abs=0.2)
    assert np.mean([one.loss for one in steps[-5:]]) < 0.7 * steps[0].loss
    assert np.mean(predict(made, images(30, seed=1)[0], precision="fp32") == images(30, seed=1)[1]) > 0.8


def test_repeats_exactly_and_the_seed_matters(config, images):
    samples, labels = images(12)
    (first, _), (second, _) = trained(config, samples, labels), trained(config, samples, labels)
    other, _ = trained(config, samples, labels, FAST._replace(seed=1))
    assert torch.equal(first.head.weight, second.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


def test_samples_are_augmented_as_in_pretraining(config, images, monkeypatch):
    samples, labels = images(12)
    seen, forward = [], Classifier.forward
    monkeypatch.setattr(Classifier, "forward", lambda own, raw, **rest: seen.append(raw) or forward(own, raw, **rest))
    how, settings = Augmentation(crop=0.4, flip=True), FAST._replace(steps=3, shift=0)
    made = Classifier.build(config, ["a", "b", "c"])
    list(train(made, samples, labels, settings, how))
    batches = Batches(samples, settings.batch_size, settings.seed, World(), torch.device("cpu"))
    for step in range(3):
        batch = batches(step)  # of more than there are samples, so that copies are to be changed apart
        assert not torch.equal(seen[step], batch.raw)
        assert torch.equal(seen[step], made.modality.augment(batch.raw, Draws(settings.seed, step, batch.named), how))


def test_the_end_leaves_the_averaged_weights_where_they_are_asked_for(config, images):
    samples, labels = images(12)
    made, plain = (Classifier.build(config, ["a", "b", "c"]) for _ in range(2))
    names = ["head.weight", "norm.running_mean", "norm.running_var"]
    expected = {name: plain.state_dict()[name].clone() for name in names}
    for done in train(plain, samples, labels, FAST):
        kept = min(0.9, (1 + done.step) / (10 + done.step))
        expected = {name: kept * value + (1 - kept) * plain.state_dict()[name] for name, value in expected.items()}
    list(train(made, samples, labels, FAST, ema=0.9))
    for name, value in expected.items():
        torch.testing.assert_close(made.state_dict()[name], value)
        assert not torch.allclose(value, plain.state_dict()[name]), name


def test_layer_decay_moves_low_layers_less(config, images):
    samples, labels = images(30)
    start = Classifier.build(config, ["a", "b", "c"]).modality.project.weight
    moved = {
        decay: (
            trained(config, samples, labels, FAST._replace(layer_decay=decay))[0].modality.project.weight - start
        ).norm()
        for decay in (1.0, 0.5)
    }
    assert moved[0.5] < 0.5 * moved[1.0]


def test_a_loss_that_is_not_finite_names_its_rate(config, images, monkeypatch):
    samples, labels = images(12)
    monkeypatch.setattr("mae_core.evaluation.finetune.F.cross_entropy", lambda x, y: x.sum() * float("nan"))
    with pytest.raises(ValueError, match=r"loss of step 0 is nan at lr 0\.003"):
        trained(config, samples, labels)


def test_predict_in_blocks_and_of_nothing(config, images):
    made = Classifier.build(config, ["a", "b", "c"]).eval()
    samples, _ = images(11)
    np.testing.assert_array_equal(predict(made, samples, batch=4), predict(made, samples))
    assert predict(made, samples[:0]).shape == (0,)
