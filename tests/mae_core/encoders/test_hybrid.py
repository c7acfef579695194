"""The convolutional stem: each cell by itself, whatever its neighbours hold."""

import pytest
import torch

from mae_core.model import MaskedAutoencoder


def config_of(make_config, patch):
    config = make_config(modality={"size": [12, 12], "patch": patch})
    config["encoder"] = {"kind": "hybrid", "width": 16, "depth": 1, "heads": 2}
    return config


@pytest.mark.parametrize("patch", [1, 2, 3, 4, [3, 2]])
def test_a_cell_is_embedded_by_itself(make_config, make_raw, patch):
    config = config_of(make_config, patch)
    model, raw = MaskedAutoencoder.build(config), make_raw(2, config)
    values = model.modality.split(raw).values
    whole = model.encoder.stem(values)
    assert whole.shape == (2, model.modality.cells, 16)
    torch.testing.assert_close(model.encoder.stem(values[:, 3:4]), whole[:, 3:4])
    other = values.clone()
    other[:, 3] += 1
    changed = (model.encoder.stem(other) != whole).any(-1)
    assert changed[:, 3].all() and changed.sum() == 2


def test_places_within_a_cell_differ(make_config, make_raw):
    config = config_of(make_config, 4)
    model, raw = MaskedAutoencoder.build(config), make_raw(1, config)
    turned = raw.view(1, 3, 3, 4, 3, 4).flip(3).reshape(raw.shape)
    stem, split = model.encoder.stem, model.modality.split
    assert not torch.allclose(stem(split(raw).values), stem(split(turned).values), atol=1e-2)


def test_options_of_the_transformer_are_its_own(make_config, make_raw):
    config = config_of(make_config, 4)
    config["encoder"] |= {"registers": 2, "positions": "rope", "global_pool": "token"}
    model, raw = MaskedAutoencoder.build(config), make_raw(2, config)
    assert model.encode(raw, "tokens").shape == (2, 3 + 9, 16)
    assert model.modality.project is None
