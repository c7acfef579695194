"""Who teaches: an averaged copy that follows, or a frozen model; both see whole samples and get no gradient."""

import pytest
import torch
import torch.nn.functional as F

from mae_core.cells import Context, Taught
from mae_core.draws import Draws
from mae_core.model import MaskedAutoencoder
from mae_core.teacher import Frozen, Needs, Teacher, describe, momentum_at, teach, weights_sum

DRAWS = Draws(0, 0, torch.arange(5))


def lively(config):
    model = MaskedAutoencoder.build(config, seed=1)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture
def config(make_config):
    """Asks for everything that an averaged copy can say."""
    return make_config(masking={"strategy": "loss_ranked"}, objective={"loss_ranking": 1.0, "targets": {"latent": 1.0}})


@pytest.fixture
def raw(make_raw, make_config):
    return make_raw(5, make_config())


@pytest.mark.parametrize(
    ("masker", "objective", "needs"),
    [
        ("random", {}, Needs()),
        ("random", {"uniformity": 1.0, "mask_contrastive": 1.0}, Needs()),
        ("attention", {}, Needs(attention=True)),
        ("random", {"target": "latent"}, Needs(latent=4)),
        ("attention", {"targets": {"latent": 0.1}, "latent_blocks": 1}, Needs(latent=1, attention=True)),
        ("loss_ranked", {"loss_ranking": 1.0}, Needs(difficulty=True)),
        ("random", {"loss_ranking": 1.0}, Needs()),
    ],
)
def test_what_is_not_asked_for_is_not_made(make_config, raw, masker, objective, needs):
    model = lively(make_config(masking={"strategy": masker}, objective=objective))
    assert model.needs == needs and needs.copy == (needs != Needs())
    said = teach(model, model.modality.split(raw), needs)
    asked = {name for name, value in needs._asdict().items() if value}
    assert {name for name, value in said._asdict().items() if value is not None} == asked


@pytest.mark.parametrize("blocks", [1, 2, 7])
def test_latents_are_the_mean_of_the_last_blocks_normalised(config, raw, blocks):
    model = lively(config).eval()
    cells = model.modality.split(raw)
    found = teach(model, cells, Needs(latent=blocks)).latent
    outputs = []
    for block in model.encoder.blocks:
        block.register_forward_hook(lambda _, inputs, out: outputs.append(out[:, 1:]))
    tokens = model.encode(raw, "tokens")[:, 1:]
    whole = outputs[-blocks:] if blocks > 1 else [tokens]
    each = [(x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt() for x in whole]
    mean = sum(each) / len(each)
    expected = (mean - mean.mean(-1, keepdim=True)) / (mean.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-5)
    assert not found.requires_grad


def test_attention_is_what_the_global_token_reads(config, raw):
    model = lively(config).eval()
    found = teach(model, model.modality.split(raw), Needs(attention=True)).attention
    inputs = []
    last = model.encoder.blocks[-1].attn
    last.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    model.encode(raw)
    (x,) = inputs
    q, k, _ = last.qkv(x).double().chunk(3, -1)
    heads = []
    for head in range(2):
        part = slice(8 * head, 8 * head + 8)
        heads.append(torch.softmax(q[:, :1, part] @ k[:, :, part].transpose(1, 2) / 8**0.5, -1)[:, 0])
    torch.testing.assert_close(found, torch.stack(heads).mean(0)[:, 1:].float().detach(), rtol=1e-4, atol=1e-6)
    assert found.shape == (5, 16) and (found.sum(1) < 1).all(), "some of it is read from the global token itself"


def test_compiled_blocks_are_watched_too(make_config, raw):
    """A training leaves its blocks compiled, and the model then leads its own masks."""
    model = MaskedAutoencoder.build(make_config(masking={"strategy": "attention"}), seed=1)
    before = model.plan(raw, 0.5, "attention", 0)
    for block in model.encoder.blocks:
        block.compile(backend="eager")
    model.encode(raw)
    assert torch.equal(model.plan(raw, 0.5, "attention", 0).hide, before.hide)


def test_the_difficulty_is_the_ranking_of_every_cell_of_whole_samples(config, raw):
    model = lively(config).eval()
    cells = model.modality.split(raw)
    found = teach(model, cells, model.needs).difficulty
    everything = torch.arange(16).expand(5, -1)
    plan = model.plan(raw, 0.5, "random", 0)._replace(keep=everything, hide=everything)
    view = model.view(cells, plan)
    expected = model.objectives.heads["loss_ranking"](view.decoded, plan).squeeze(-1)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-5)


def test_rankings_are_made_in_full_precision(config, raw):
    model = lively(config)
    cells = model.modality.split(raw)
    with torch.autocast("cpu", torch.bfloat16):
        found = teach(model, cells, model.needs)
    assert found.difficulty.dtype == torch.float32
    assert torch.equal(found.difficulty, teach(model, cells, model.needs).difficulty)


def test_a_copy_starts_as_the_model_and_follows_it(config, raw):
    model = lively(config)
    teacher = Teacher(model)
    cells = model.modality.split(raw)
    for ours, theirs in zip(teacher(cells), teach(model, cells, model.needs)):
        assert (ours is None and theirs is None) or torch.equal(ours, theirs)
    before = {name: value.clone() for name, value in teacher.named_parameters()}
    assert {name.split(".")[0] for name in before} == {"modality", "encoder", "decoder", "objectives"}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in teacher.named_parameters()), "it is no view of it"
    teacher.follow(model, 0.75)
    for name, value in teacher.named_parameters():
        torch.testing.assert_close(value, before[name] + 0.25)
    teacher.follow(model, 1.0)
    assert all(torch.allclose(value, before[name] + 0.25) for name, value in teacher.named_parameters())
    teacher.follow(model, 0.0)
    assert all(torch.equal(value, dict(model.named_parameters())[name]) for name, value in teacher.named_parameters())


def test_only_what_is_needed_is_copied(make_config):
    teacher = Teacher(lively(make_config(objective={"target": "latent"})))
    assert {name.split(".")[0] for name, _ in teacher.named_parameters()} == {"modality", "encoder"}
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_no_gradient_reaches_a_teacher_and_all_of_the_model_gets_one(config, raw):
    model = lively(config)
    teacher = Teacher(model)
    said = teacher(model.modality.split(raw))
    model(raw, DRAWS, None, Context(0.5, said)).total.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert [
        name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ] == []


def test_a_model_without_a_teacher_is_its_own(config, raw):
    model = lively(config)
    context = Context(0.0, teach(model, model.modality.split(raw), model.needs))
    assert torch.equal(model(raw, DRAWS).total, model(raw, DRAWS, None, context).total)
    other = context.teacher._replace(latent=torch.zeros_like(context.teacher.latent))
    assert model(raw, DRAWS, None, context._replace(teacher=other)).total != model(raw, DRAWS).total


def test_the_target_is_what_the_teacher_says_of_hidden_cells(make_config, raw):
    model = lively(make_config(objective={"target": "latent"}))
    said = torch.randn(5, 16, 16, generator=torch.Generator().manual_seed(0))
    plan = model.plan(raw, 0.75, "random", 0)
    terms = model(raw, plan=plan, context=Context(0.0, Taught(latent=said)))
    prediction = model.view(model.modality.split(raw), plan).prediction
    for sample in range(5):
        for m, cell in enumerate(plan.hide[sample].tolist()):
            expected = F.smooth_l1_loss(prediction[sample, m], said[sample, cell])
            torch.testing.assert_close(terms.per_cell[sample, m], expected.detach())


def test_momentum_goes_along_a_line():
    assert [momentum_at(step, 4, 0.9, 1.0) for step in range(5)] == pytest.approx([0.9, 0.925, 0.95, 0.975, 1.0])


@pytest.fixture
def saved(make_config, tmp_path):
    """A wider model of the same cells."""
    return lively(make_config(encoder={"width": 24})).save(tmp_path / "frozen")


def test_a_frozen_models_features_are_a_target(make_config, raw, saved):
    source = describe(saved, "models/other/seed-0")
    assert source == {"folder": "models/other/seed-0", "sha256": weights_sum(saved), "width": 24}
    model = lively(make_config(objective={"target": "features", "source": source}))
    assert model.needs == Needs(features=True) and not model.needs.copy
    with pytest.raises(ValueError, match="target 'features' needs a teacher"):
        model(raw, DRAWS)
    frozen = Frozen(saved, source["sha256"], model.modality.coords)
    said = frozen(raw)
    tokens = MaskedAutoencoder.load(saved).encode(raw, "tokens")[:, 1:]
    once = F.layer_norm(tokens, (24,))
    torch.testing.assert_close(said, F.layer_norm(once, (24,)).detach())
    terms = model(raw, DRAWS, None, Context(0.0, Taught(features=said)))
    terms.total.backward()
    assert model.head.weight.shape == (24, 8) and model.head.weight.grad.any()
    assert all(parameter.grad is None for parameter in frozen.parameters())


def test_a_frozen_model_is_the_one_that_was_named(make_config, saved):
    coords = lively(make_config()).modality.coords
    with pytest.raises(ValueError, match=r"holds other weights than when objective\.features_from was resolved"):
        Frozen(saved, "0" * 64, coords)
    with pytest.raises(ValueError, match="16 cells in other places than this model's 4"):
        Frozen(saved, weights_sum(saved), coords[:4])
    with pytest.raises(ValueError, match="is no model folder"):
        weights_sum(saved / "nothing")


def test_an_exported_model_needs_no_teacher(config, raw, tmp_path):
    model = lively(config)
    model.save(tmp_path / "model")
    back = MaskedAutoencoder.load(tmp_path / "model")
    assert torch.equal(back.encode(raw), model.eval().encode(raw))
    assert not any(name.startswith("teacher") for name in back.state_dict())


def test_masks_are_drawn_after_training_as_the_model_itself_would_lead_them(config, raw):
    model = lively(config).eval()
    for strategy, what in (("attention", "attention"), ("loss_ranked", "difficulty")):
        plan = model.plan(raw, 0.5, strategy, seed=3)
        assert torch.equal(plan.hide, model.plan(raw, 0.5, strategy, seed=3).hide)
        values = getattr(teach(model, model.modality.split(raw), Needs(**{what: True})), what)
        assert (values.gather(1, plan.hide).mean(1) > values.gather(1, plan.keep).mean(1)).all()


def test_a_model_that_learned_no_ranking_says_so(make_config, raw):
    with pytest.raises(ValueError, match="led by a teacher's difficulty"):
        lively(make_config()).plan(raw, 0.5, "loss_ranked", 0)
