"""Training with several objectives and teachers: exact resume, what is reported, what micro-batches change, and against collapse."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mae_core.data.loader import Batches
from mae_core.draws import Draws
from mae_core.evaluation.features import extract
from mae_core.evaluation.rank import measure_rank
from mae_core.training.loop import Settings, fit, start
from mae_core.training.state import load_checkpoint, save_checkpoint
from mae_core.training.world import World

SETTINGS = Settings(steps=8, batch_size=6, lr=2e-3, ema=0.9, precision="fp32", teacher_momentum=0.8)
LED = {"masking": {"strategy": "loss_ranked"}, "objective": {"loss_ranking": 0.5, "targets": {"latent": 1.0}}}
CONFIGS = {
    "latent": {"objective": {"target": "latent"}},
    "led by attention": {"masking": {"strategy": "attention"}},
    "led by losses, taught": LED,
    "augmented twice": {"objective": {"invariance": 0.1, "pair": "augmented"}},
    "compared": {"objective": {"mask_contrastive": 0.1, "uniformity": 0.01, "covariance": 0.1, "projector": 4}},
}


@pytest.fixture
def samples(make_raw, make_config):
    return make_raw(16, make_config()).numpy()


def train(state, samples, settings, stop=None):
    found = []
    for progress in fit(state, samples, settings, report_every=1):
        found.append(progress)
        if state.step == stop:
            break
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(make_config, samples, tmp_path, name):
    config = make_config(**CONFIGS[name])
    whole = start(config, SETTINGS)
    unbroken = train(whole, samples, SETTINGS)
    first = start(config, SETTINGS)
    train(first, samples, SETTINGS, stop=3)
    save_checkpoint(first, tmp_path, "run")
    second = start(config, replace(SETTINGS, seed=99))
    assert load_checkpoint(second, tmp_path, "run") == 3
    resumed = train(second, samples, SETTINGS)
    assert [p.loss for p in unbroken[3:]] == [p.loss for p in resumed]
    assert [p.parts for p in unbroken[3:]] == [p.parts for p in resumed]
    a, b = whole.tensors(), second.tensors()
    assert a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())
    assert any(key.startswith("teacher.") for key in a) == (name not in ("compared", "augmented twice"))


def test_a_pair_is_augmented_apart(make_config, samples, monkeypatch):
    state = start(make_config(objective={"invariance": 1.0, "pair": "augmented"}), SETTINGS)
    forward, seen = state.model.forward, []
    monkeypatch.setattr(
        state.model, "forward", lambda raw, *rest: seen.append((raw, rest[2].again)) or forward(raw, *rest)
    )
    train(state, samples, replace(SETTINGS, flip=True))
    flipped = torch.cat([(raw != again).flatten(1).any(1) for raw, again in seen])
    assert 0.3 < flipped.float().mean() < 0.7, "half of them are mirror images of their partners"
    raw, again = (torch.cat(side) for side in zip(*seen))
    assert torch.equal(again[flipped], raw[flipped].flip(-1)) and torch.equal(again[~flipped], raw[~flipped])


def test_the_teacher_follows_after_every_step_with_the_scheduled_momentum(make_config, samples):
    settings = replace(SETTINGS, steps=4, teacher_momentum=0.5, teacher_momentum_end=1.0)
    state = start(make_config(**CONFIGS["latent"]), settings)
    name, teacher = "encoder.norm.weight", dict(state.teacher.named_parameters())
    expected = teacher["encoder.norm.weight"].clone()
    for step, _ in enumerate(fit(state, samples, settings, report_every=1)):
        keeps = 0.5 + 0.5 * step / 4
        expected = keeps * expected + (1 - keeps) * dict(state.model.named_parameters())[name].detach()
        torch.testing.assert_close(teacher[name].detach(), expected)


def test_a_skipped_step_teaches_nothing(make_config, samples):
    state = start(make_config(**CONFIGS["latent"]), SETTINGS)
    state.model.register_forward_hook(lambda _, inputs, terms: terms._replace(total=terms.total * float("nan")))
    before = [value.clone() for value in state.teacher.parameters()]
    train(state, samples, SETTINGS, stop=2)
    assert all(torch.equal(a, b) for a, b in zip(before, state.teacher.parameters()))


def test_a_teacher_starts_from_loaded_weights(make_config):
    config = make_config(**CONFIGS["latent"])
    state, other = start(config, SETTINGS), start(config, replace(SETTINGS, seed=5))
    state.load_model(other.model.state_dict())
    theirs = dict(other.model.named_parameters())
    assert all(torch.equal(value, theirs[name]) for name, value in state.teacher.named_parameters())


def test_every_part_is_reported_without_its_weight(make_config, samples):
    weights = {"mask_contrastive": 0.1, "uniformity": 0.3, "variance": 0.2}
    state = start(make_config(objective={**weights, "targets": {"hog": 0.7}}), SETTINGS)
    for progress in train(state, samples, SETTINGS, stop=3):
        assert set(progress.parts) == {"reconstruction", *weights, "hog"} and progress.grad_norms == {}
        weighted = {"reconstruction": 1.0, "hog": 0.7, **weights}
        total = sum(weighted[name] * value for name, value in progress.parts.items())
        assert progress.loss == pytest.approx(total, rel=1e-5)
        row = progress.row()
        assert row["loss_of/uniformity"] == progress.parts["uniformity"] and row["loss"] == progress.loss
        assert not any(isinstance(value, dict) for value in row.values())


@pytest.mark.parametrize("micro_batch", [0, 2])
def test_gradient_norms_are_those_of_each_weighted_part_alone(make_config, samples, micro_batch):
    """A weight ten times larger pulls ten times harder; micro-batches change nothing of objectives of single samples."""
    norms = {}
    for weight in (1.0, 10.0):
        config = make_config(objective={"targets": {"hog": weight}})
        progress = first(config, samples, log_grad_norms=True, micro_batch=micro_batch, crop=1.0)
        norms[weight] = progress.grad_norms
        assert set(progress.grad_norms) == {"reconstruction", "hog"}
    model, tokens = start(make_config(objective={"targets": {"hog": 1.0}}), SETTINGS).model, []
    model.encoder.register_forward_hook(lambda _, inputs, out: tokens.append(out.tokens))
    model.objectives.traced = True
    batch = Batches(samples, SETTINGS.batch_size, SETTINGS.seed, World(), torch.device("cpu"))(0)
    terms = model(batch.raw, Draws(SETTINGS.seed, 0, batch.ids))
    for name in ("reconstruction", "hog"):
        (gradient,) = torch.autograd.grad(terms.each[name], tokens, retain_graph=True)
        assert norms[1.0][name] == pytest.approx(float(gradient.norm()), rel=1e-4)
    assert norms[10.0]["hog"] == pytest.approx(10 * norms[1.0]["hog"], rel=1e-4)
    assert norms[10.0]["reconstruction"] == pytest.approx(norms[1.0]["reconstruction"], rel=1e-4)


@pytest.mark.parametrize("decoder", ["joint", "unet"])
def test_gradient_norms_of_convolutions_are_those_at_their_maps(make_config, samples, decoder):
    """What the decoder and what pooled objectives read, each once."""
    encoder = {"kind": "conv", "width": 16, "depth": 2, "stages": 1}
    made = {"kind": decoder, "width": 8, "depth": 1}
    config = make_config(encoder=encoder, decoder=made, objective={"uniformity": 1.0})
    config["encoder"].pop("heads"), (decoder == "unet" and config["decoder"].pop("heads"))
    norms = first(config, samples, log_grad_norms=True).grad_norms
    assert set(norms) == {"reconstruction", "uniformity"} and all(norm > 0 for norm in norms.values())


@pytest.mark.parametrize(
    ("sections", "dtype"), [({"objective": {"target": "latent"}}, torch.bfloat16), (LED, torch.float32)]
)
def test_a_teacher_computes_as_the_training_does_unless_it_ranks(make_config, samples, sections, dtype):
    state, seen = start(make_config(**sections), SETTINGS), set()
    state.teacher.encoder.blocks[0].attn.qkv.register_forward_hook(lambda _, inputs, out: seen.add(out.dtype))
    train(state, samples, replace(SETTINGS, steps=2, precision="bf16"))
    assert seen == {dtype}


def test_watching_gradients_changes_no_training(make_config, samples):
    config = make_config(**LED)
    a, b = start(config, SETTINGS), start(config, SETTINGS)
    plain, watched = train(a, samples, SETTINGS), train(b, samples, replace(SETTINGS, log_grad_norms=True))
    assert [p.loss for p in plain] == [p.loss for p in watched]
    assert all(p.grad_norms.keys() == {"reconstruction", "latent", "loss_ranking"} for p in watched)


def first(config, samples, **changes):
    (progress,) = train(start(config, SETTINGS), samples, replace(SETTINGS, **changes), stop=1)
    return progress


def test_micro_batches_change_what_samples_meet_and_nothing_else(make_config, samples):
    """As docs/objectives.md says: objectives of single samples are the same, those that compare samples are not."""
    config = make_config(objective={"uniformity": 0.01, "mask_contrastive": 0.1, "targets": {"latent": 1.0}})
    whole, cut = (first(config, samples, micro_batch=size).parts for size in (0, 2))
    for name in ("reconstruction", "latent"):
        assert cut[name] == pytest.approx(whole[name], rel=1e-4)
    assert cut["mask_contrastive"] < 0.7 * whole["mask_contrastive"], "one wrong answer instead of five"
    assert cut["uniformity"] != pytest.approx(whole["uniformity"], rel=1e-4)


JOINT = {
    "modality": {
        "kind": "joint",
        "parts": [
            {"name": "left", "kind": "image", "channels": 1, "size": [8, 8], "patch": 4},
            {"name": "right", "kind": "image", "channels": 1, "size": [8, 8], "patch": 2},
        ],
    },
    "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
    "decoder": {"kind": "joint", "width": 8, "depth": 1, "heads": 2},
    "masking": {"strategy": "random", "ratio": 0.5},
    "objective": {"reconstruction": 1.0, "contrastive": 0.1, "target": "parts"},
}


def pairs(n):
    """(n, 128): the two parts of ``JOINT``."""
    return np.random.default_rng(0).integers(0, 256, (n, 128)).astype(np.float32)


def test_joint_parts_are_reported():
    progress = first(JOINT, pairs(12), steps=1, ema=0.0)
    assert list(progress.parts) == ["reconstruction", "reconstruction/left", "reconstruction/right", "contrastive"]
    mean = (progress.parts["reconstruction/left"] + progress.parts["reconstruction/right"]) / 2
    assert progress.parts["reconstruction"] == pytest.approx(mean, rel=0.05), "parts count alike in every sample"


@pytest.mark.parametrize("looks", [1, 2])
def test_micro_batches_change_no_part_of_joint_samples(looks):
    """Also where most passes hide nothing of a part: a sample in three has both, the others lack one."""
    samples = pairs(12)
    samples[0::3, :64], samples[1::3, 64:] = np.nan, np.nan
    config = {**JOINT, "masking": {**JOINT["masking"], "looks": looks}}
    config["objective"] = {"reconstruction": 1.0, "target": "parts"}
    settings = {"steps": 1, "batch_size": 12, "ema": 0.0}
    whole = first(config, samples, **settings)
    assert whole.parts["reconstruction/left"] > 0 < whole.parts["reconstruction/right"]
    for size in (1, 5):
        cut = first(config, samples, micro_batch=size, **settings)
        assert cut.parts == pytest.approx(whole.parts, rel=1e-4)
        assert cut.loss == pytest.approx(whole.loss, rel=1e-5)


def test_a_part_that_the_batch_hides_nothing_of_is_reported_as_zero():
    samples = pairs(12)
    samples[:, :64] = np.nan
    parts = first({**JOINT, "objective": {"reconstruction": 1.0, "target": "parts"}}, samples, ema=0.0).parts
    assert parts["reconstruction/left"] == 0 and parts["reconstruction/right"] == pytest.approx(parts["reconstruction"])


def waves(n):
    """(n, 1, 8, 8) uint8: a few directions and phases with noise."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:8, :8]
    angle, phase = random.uniform(0, np.pi, (2, n, 1, 1))
    clean = np.sin(1.2 * (x * np.cos(angle) + y * np.sin(angle)) + 2 * phase)
    return (128 + 90 * clean + random.normal(0, 10, clean.shape)).clip(0, 255).astype(np.uint8)[:, None]


def rank_after(make_config, samples, **objective):
    config = make_config(modality={"channels": 1}, objective=objective)
    settings = Settings(steps=60, batch_size=32, lr=4e-3, precision="fp32")
    state = start(config, settings)
    list(fit(state, samples, settings))
    return measure_rank(extract(state.result(), samples, precision="fp32")).effective_rank


def test_features_spread_over_more_directions(make_config):
    """Against dimensional collapse, as U-MAE (Table 4) and VICReg (§5) report it: of the same small training."""
    samples = waves(128)
    plain = rank_after(make_config, samples)
    assert rank_after(make_config, samples, uniformity=1.0) > 1.3 * plain
    assert rank_after(make_config, samples, variance=1.0, covariance=1.0) > 1.3 * plain
