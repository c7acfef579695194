"""Parameter groups hold every parameter once; small, shared parameters are not decayed."""

import pytest
import torch
from torch import nn

from mae_core.model import MaskedAutoencoder
from mae_core.training.optim import adamw, param_groups, set_lr


@pytest.fixture
def model(make_config):
    return MaskedAutoencoder.build(make_config())


def test_every_parameter_is_in_exactly_one_group(model):
    grouped = [id(p) for group in param_groups(model, 0.05) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())


def test_vectors_and_tokens_are_not_decayed(model):
    names = {id(p): name for name, p in model.named_parameters()}
    free = {names[id(p)] for g in param_groups(model, 0.05) if g["weight_decay"] == 0 for p in g["params"]}
    decayed = {names[id(p)] for g in param_groups(model, 0.05) if g["weight_decay"] == 0.05 for p in g["params"]}
    assert {"encoder.global_token", "decoder.mask_token", "encoder.norm.weight", "head.bias"} <= free
    assert {"modality.project.weight", "head.weight", "encoder.blocks.0.attn.qkv.weight"} <= decayed
    assert all(name.endswith(".weight") and "norm" not in name for name in decayed)


def test_a_shared_parameter_is_stepped_once():
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = module[0].weight
    assert sum(len(group["params"]) for group in param_groups(module, 0.1)) == 3


def test_layer_decay_scales_the_rate_of_each_layer():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    groups = param_groups(module, 0.1, 0.5, lambda name: int(name[0]), layers=3)
    found = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    assert [found[id(layer.weight)] for layer in module] == [0.25, 0.5, 1.0]
    assert [found[id(layer.bias)] for layer in module] == [0.25, 0.5, 1.0]
    optimizer = adamw(groups, (0.9, 0.95))
    set_lr(optimizer, 8.0)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == [2.0, 4.0, 8.0]


def test_a_layer_out_of_range_or_without_parameters_is_refused():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"parameter 1\.weight was put in layer 5, outside 0\.\.1"):
        param_groups(module, 0.1, 0.5, lambda name: 5 * int(name[0]), layers=2)
    with pytest.raises(ValueError, match=r"layers \[2\] hold no parameter"):
        param_groups(module, 0.1, 0.5, lambda name: int(name[0]), layers=3)


def test_without_a_gradient_only_decay_moves_a_weight():
    module = nn.Linear(2, 2)
    before = module.weight.detach().clone(), module.bias.detach().clone()
    optimizer = adamw(param_groups(module, 0.5), (0.9, 0.95))
    set_lr(optimizer, 0.1)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(module.weight.detach(), before[0] * (1 - 0.1 * 0.5))
    assert torch.equal(module.bias, before[1])
