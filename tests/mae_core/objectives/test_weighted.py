"""What a config makes of objectives: weights, views, heads, and what is refused."""

import pytest
import torch

from mae_core.cells import Context
from mae_core.draws import Draws
from mae_core.model import MaskedAutoencoder
from mae_core.objectives.options import PAIRS, wanted
from mae_core.targets.errors import ERRORS

DRAWS = Draws(0, 0, torch.arange(6))


def lively(config):
    """Biases away from zero, so that nothing is equal by chance."""
    model = MaskedAutoencoder.build(config, seed=1)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture
def make(make_config):
    return lambda **objective: lively(make_config(objective=objective))


@pytest.fixture
def raw(make_raw, make_config):
    return make_raw(6, make_config())


EVERYTHING = {
    "mask_contrastive": 0.1, "invariance": 0.2, "variance": 0.3, "covariance": 0.4, "uniformity": 0.5,
    "loss_ranking": 0.6, "targets": {"latent": 0.7, "hog": 0.8, "fourier": 0.9},
}  # fmt: skip
WEIGHTS = {"reconstruction": 1.0, **EVERYTHING, **EVERYTHING["targets"]}


def test_the_total_is_the_weighted_sum_of_all_parts(make, raw):
    terms = make(**EVERYTHING)(raw, DRAWS)
    assert set(terms.parts) == set(WEIGHTS) - {"targets"} and all(value > 0 for value in terms.parts.values())
    torch.testing.assert_close(terms.total.detach(), sum(WEIGHTS[name] * value for name, value in terms.parts.items()))
    assert terms.each == {} and terms.latents == ()


def test_what_is_added_changes_neither_the_first_weights_nor_the_reconstruction(make_config, raw):
    plain = MaskedAutoencoder.build(make_config(), seed=1)
    both = MaskedAutoencoder.build(make_config(objective={**EVERYTHING, "projector": 5}), seed=1)
    assert all(torch.equal(value, both.state_dict()[name]) for name, value in plain.state_dict().items())
    assert torch.equal(plain(raw, DRAWS).per_cell, both(raw, DRAWS).per_cell)
    assert torch.equal(plain(raw, DRAWS).total, both(raw, DRAWS).parts["reconstruction"])


@pytest.mark.parametrize("pair", PAIRS)
def test_each_view_is_encoded_once(make, raw, pair):
    model = make(mask_contrastive=1.0, invariance=1.0, variance=1.0, covariance=1.0, pair=pair)
    plans = []
    model.encoder.register_forward_pre_hook(lambda _, inputs: plans.append(inputs[2]))
    model(raw, DRAWS)
    first, other = plans
    assert first.keep.shape == (6, 4)
    kept, seen = first.keep.sort(1).values, other.keep.sort(1).values
    if pair in ("second", "augmented"):
        assert other.keep.shape == (6, 4) and (kept != seen).any(1).all()
        assert other.keep.unique().numel() > 8, "every sample draws its own"
    elif pair == "full":
        assert torch.equal(seen, torch.arange(16).expand(6, -1))
    else:
        assert torch.equal(torch.cat([kept, seen], 1).sort(1).values, torch.arange(16).expand(6, -1))


def test_the_augmented_view_is_of_the_other_picture_and_predicts_nothing(make, raw):
    model = make(mask_contrastive=1.0, pair="augmented")
    other = raw.flip(-1)
    seen = []
    model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1:3]))
    found = model(raw, DRAWS, context=Context(again=other))
    alike = model(raw, DRAWS)
    (first, plan), (second, again), _, (repeated, same) = seen
    assert torch.equal(first.values, model.modality.split(raw).values)
    assert torch.equal(second.values, model.modality.split(other).values)
    assert torch.equal(repeated.values, first.values), "where nothing was augmented it is the same picture"
    assert torch.equal(again.keep, same.keep) and (plan.keep.sort(1).values != again.keep.sort(1).values).any()
    assert torch.equal(found.parts["reconstruction"], alike.parts["reconstruction"])
    assert found.parts["mask_contrastive"] != alike.parts["mask_contrastive"]


@pytest.mark.parametrize("strategy", ["attention", "loss_ranked"])
def test_masks_that_a_teacher_leads_know_one_picture(make_config, strategy):
    asked = {"loss_ranking": 1.0, "mask_contrastive": 1.0, "pair": "augmented"}
    with pytest.raises(ValueError, match="take pair second"):
        MaskedAutoencoder.build(make_config(masking={"strategy": strategy}, objective=asked))


def test_a_plain_model_encodes_one_view(make, raw):
    model, calls = make(), []
    model.encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    model(raw, DRAWS)
    assert calls == [1] and not model.objectives.state_dict()


def test_gathered_rows_are_compared_too(make, raw):
    """Two halves that are shown the other's features compute what the whole batch does; one has a copy of what is in the other."""
    model = make(uniformity=1.0, variance=1.0, covariance=1.0)
    raw, ids = raw[[0, 1, 2, 0, 4, 5]], torch.tensor([0, 1, 2, 0, 4, 1 << 40])
    whole = model(raw, DRAWS._replace(ids=ids))
    halves = [slice(0, 3), slice(3, 6)]
    sent = {torch.float32: [], torch.long: []}
    for half in halves:
        draws = DRAWS._replace(ids=ids[half])
        model(raw[half], draws, None, gather=lambda x: sent[x.dtype].append(x.detach()) or x)
    for half in halves:
        found = model(raw[half], DRAWS._replace(ids=ids[half]), None, gather=lambda x: torch.cat(sent[x.dtype]))
        for name in ("uniformity", "variance", "covariance"):
            torch.testing.assert_close(found.parts[name], whole.parts[name])
    alone = model(raw[:3], DRAWS._replace(ids=ids[:3]))
    assert not torch.isclose(alone.parts["uniformity"], whole.parts["uniformity"], rtol=1e-4)


def test_a_sample_is_not_compared_with_its_copy(make, raw):
    """A batch that reaches over the end of an epoch may hold a sample twice."""
    model = make(mask_contrastive=1.0, uniformity=1.0)
    copies, others = (model(raw[[0, 0]], DRAWS._replace(ids=torch.tensor(ids))).parts for ids in ([4, 4], [4, 5]))
    assert copies["mask_contrastive"].abs() < 1e-6 and copies["uniformity"] == 0
    assert others["mask_contrastive"] > 0.1 and others["uniformity"] > 0.1


def test_a_projector_stands_before_what_compares_and_nothing_else(make, raw):
    model = make(uniformity=1.0, projector=5)
    seen = []
    model.objectives.projector.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    model(raw, DRAWS).total.backward()
    ((pooled, projected),) = seen
    assert pooled.shape == (6, 16) and projected.shape == (6, 5)
    assert all(parameter.grad.any() for parameter in model.objectives.projector.parameters())


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        ({"uniformty": 1.0}, r"unknown objective 'uniformty' \(did you mean 'uniformity'\?\)"),
        ({"contrastive": 1.0}, "objective 'contrastive' does not fit the modality 'image'"),
        ({"targets": {"pixels": 1.0}}, "take it out of objective.targets"),
        ({"targets": {"tokens": 1.0}}, "target 'tokens' does not fit the modality 'image'"),
        ({"pair": "third", "invariance": 1.0}, "unknown pair 'third'"),
        ({"target": "features"}, r"needs objective\.features_from"),
        ({"target": "fourier", "loss": "l1"}, r"objective\.loss means nothing to the target 'fourier'"),
        ({"projector": 8}, r"objective\.projector 8 stands before objectives that compare samples"),
        ({"weights": {"a": 1.0}}, r"objective\.weights means nothing to the target 'pixels'"),
    ],
)
def test_what_cannot_be_is_refused_in_words(make, objective, words):
    with pytest.raises(ValueError, match=words):
        make(**objective)


def test_a_loss_is_for_whichever_target_takes_it(make):
    model = make(target="fourier", targets={"hog": 1.0}, loss="l1")
    assert model.objectives.each["hog"].target.error is ERRORS["l1"]


def test_the_complement_holds_all_hidden_cells_of_a_decoder_that_predicts_some(make_config, raw):
    objective = {"mask_contrastive": 1.0, "pair": "complement_of_0"}
    decoder = {"kind": "cross", "depth": 1, "share": 0.5}
    model = MaskedAutoencoder.build(make_config(objective=objective, decoder=decoder))
    plans = []
    model.encoder.register_forward_pre_hook(lambda _, inputs: plans.append(inputs[2]))
    assert model(raw, DRAWS).per_cell.shape == (6, 6)
    first, other = plans
    both = torch.cat([first.keep, other.keep], 1).sort(1).values
    assert torch.equal(both, torch.arange(16).expand(6, -1))


def test_masks_that_nobody_learns_to_lead_are_refused(make_config):
    with pytest.raises(ValueError, match=r"give objective\.loss_ranking a weight"):
        MaskedAutoencoder.build(make_config(masking={"strategy": "loss_ranked"}))


def test_a_config_without_reconstruction_is_refused():
    with pytest.raises(ValueError, match=r"objective\.reconstruction is missing"):
        wanted({"target": "pixels"})
