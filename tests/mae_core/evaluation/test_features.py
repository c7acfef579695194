"""Features: whole samples, any block size, nothing left changed."""

import numpy as np
import torch

from mae_core.draws import Draws
from mae_core.evaluation.features import extract


def test_blocks_and_memory_maps_give_what_encode_gives(model, images, tmp_path):
    samples, _ = images(11)
    np.save(tmp_path / "x.npy", samples)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    found = extract(model, mapped, batch=4, precision="fp32")
    assert found.dtype == np.float32 and found.shape == (11, 16)
    with torch.no_grad():
        np.testing.assert_allclose(found, model.eval().encode(torch.from_numpy(samples)).numpy(), atol=1e-5)
    np.testing.assert_allclose(extract(model, mapped), found, atol=0.1)
    assert extract(model, mapped, pool="global").shape == (11, 16)
    assert not np.allclose(extract(model, mapped, pool="global"), found)


def test_leaves_the_model_as_it_was(model, images):
    samples, _ = images(5)
    model.train()
    extract(model, samples)
    model(torch.from_numpy(samples), Draws(0, 0, torch.arange(5))).total.backward()  # trains on after a probe
    model.zero_grad()
    extract(model, samples)
    assert model.training and all(p.grad is None for p in model.parameters())
    assert extract(model, samples[:0]).shape == (0, 16)
