"""The parts of the benchmark of a training step, small: who is compared, that they compute the same, and how they are timed."""

import sys
import zipfile

import pytest
import torch

from benchmarks import peers, step, step_costs
from benchmarks.peers import NotHere, official, ours, vit_pytorch, vitmae
from benchmarks.step import Shape, check, contestants, images, rows_of, visit
from mae_core.model import MaskedAutoencoder
from mae_core.training.precision import Precision

SMALL = Shape(16, 4, (16, 2, 2), (8, 1, 2), 4)

VIT = """
from torch import nn
import torch

class ViT(nn.Module):
    def __init__(self, *, image_size, patch_size, num_classes, dim, depth, heads, dim_head, mlp_dim, pool, channels):
        super().__init__()
        self.given = dict(image_size=image_size, dim=dim, dim_head=dim_head, mlp_dim=mlp_dim, pool=pool)
        self.pos_embedding = nn.Parameter(torch.zeros(16, dim))
        self.embed = nn.Linear(channels * 16, dim)
        self.transformer = nn.Identity()
"""
MAE = """
from torch import nn
from vit_pytorch.vit import ViT

class MAE(nn.Module):
    def __init__(self, *, encoder, decoder_dim, masking_ratio, decoder_depth, decoder_heads, decoder_dim_head):
        super().__init__()
        assert isinstance(encoder, ViT)
        self.encoder, self.patch_to_emb = encoder, encoder.embed
        self.head = nn.Linear(encoder.given["dim"], 48)

    def to_patch(self, x):
        return x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 4, 5, 1).reshape(len(x), 16, 48)

    def forward(self, x):
        patches = self.to_patch(x)
        return (self.head(self.patch_to_emb(patches)) - patches).square().mean()
"""


@pytest.fixture
def wheel(tmp_path):
    """A wheel whose package cannot be imported, as the true one without torchvision, with two small stand-ins inside."""
    pytest.importorskip("einops")
    name, _, version = peers.VIT_PYTORCH.partition("==")
    with zipfile.ZipFile(tmp_path / f"{name.replace('-', '_')}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr("vit_pytorch/__init__.py", "raise ImportError('torchvision')")
        archive.writestr("vit_pytorch/vit.py", VIT)
        archive.writestr("vit_pytorch/mae.py", MAE)
    return tmp_path


@pytest.fixture
def model():
    return MaskedAutoencoder.build(SMALL.config())


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_vitmae_computes_what_ours_does(model, attention):
    pytest.importorskip("transformers")
    theirs, raw = vitmae(model, attention), images(SMALL, 4)
    check(model, theirs, raw)
    with torch.no_grad():
        torch.testing.assert_close(theirs.features(raw), ours(SMALL.config()).features(raw), rtol=0, atol=1e-5)
        assert theirs.module.config.mask_ratio == 0.75, "features leave the mask of the training as it was"
        theirs.module.decoder.decoder_pred.bias.add_(0.5)
    with pytest.raises(RuntimeError, match="they do not compute the same"):
        check(model, theirs, raw)


def test_vit_pytorch_comes_out_of_its_wheel_without_its_package(model, wheel):
    peer, raw = vit_pytorch(model, wheel), images(SMALL, 4)
    assert peer.module.encoder.given == {
        "image_size": (16, 16),
        "dim": 16,
        "dim_head": 8,
        "mlp_dim": 64,
        "pool": "mean",
    }
    assert peer.loss(raw, 0).ndim == 0 and peer.features(raw).shape == (4, 16)
    assert not [name for name in sys.modules if name.split(".")[0] == "vit_pytorch"]


def test_what_cannot_be_run_says_why(model, tmp_path, monkeypatch):
    with pytest.raises(NotHere, match=r"holds no models_mae\.py"):
        official(model, tmp_path)
    (tmp_path / "models_mae.py").write_text("")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(NotHere, match="install timm"):
        official(model, tmp_path)
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotHere, match="needs einops"):
        vit_pytorch(model, tmp_path)


def test_everybody_trains_in_every_precision_and_who_cannot_is_named(monkeypatch, capsys):
    pytest.importorskip("transformers")

    def absent(model):
        raise NotHere("no wheel")

    monkeypatch.setattr(step, "vit_pytorch", absent)
    found = contestants(SMALL, None)
    assert list(found) == [
        f"{name}_{precision}"
        for name in ("ours", "ours_alike", "vitmae_eager", "vitmae_sdpa")
        for precision in ("fp32", "bf16")
    ]
    assert "not run: vit_pytorch: no wheel" in capsys.readouterr().out
    seconds = visit({name: one for name, one in found.items() if "eager" in name or name == "ours_fp32"}, 2, 1)
    assert {name: len(figures) for name, figures in seconds.items()} == {
        "ours_fp32": 2,
        "vitmae_eager_fp32": 2,
        "vitmae_eager_bf16": 2,
    }


def test_a_step_trains():
    peer, raw = ours(SMALL.config()), images(SMALL, 4)
    optimizer = step.adamw(step.param_groups(peer.module, 0.0), step.BETAS)
    step.set_lr(optimizer, 1e-2)
    take = step.step_of(peer, optimizer, raw, Precision("fp32", "asked for"))
    before = float(peer.loss(raw, 0).detach())
    for _ in range(30):
        take()
    assert float(peer.loss(raw, 0).detach()) < 0.9 * before


def test_rows_are_those_pairs_that_were_run():
    seconds = {"ours_bf16": [1.0, 1.0], "ours_fp32": [2.0, 2.0], "vitmae_eager_fp32": [3.0, 3.0]}
    rows = list(rows_of("a", SMALL, seconds, 1, "command"))
    assert [row.name for row in rows] == [
        "a_ours_bf16_vs_vitmae_eager_fp32_cpu_s_per_step",
        "a_ours_fp32_vs_vitmae_eager_fp32_cpu_s_per_step",
    ]
    assert rows[0].facts["times_as_fast"] == pytest.approx(3) and rows[0].facts["images_per_s"] == 4
    (wall, _) = rows_of("a", SMALL, seconds, 2, "command")
    assert wall.name.endswith("wall_s_per_step_2_threads")


def timed(steps):
    for one in steps.values():
        one()
    return {name: [1.0 + number] for number, name in enumerate(steps)}


def test_costs_of_hiding_and_recomputing():
    raw, precision = images(SMALL, 4), Precision("fp32", "asked for")
    (hidden,) = step_costs.encoder_rows("a", SMALL.config(), raw, precision, timed, "command")
    assert hidden.name == "a_encoder_75_hidden_vs_none_s_per_batch" and hidden.ratio == 0.5
    seconds, peak = step_costs.recompute_rows("a", SMALL.config(), raw, precision, timed, "command")
    assert seconds.ratio == 0.5 and peak.facts["gradients_differ_by"] <= step_costs.SAME
    assert 0 < peak.ours < peak.baseline


def test_other_gradients_are_an_error(monkeypatch):
    monkeypatch.setattr(step_costs, "SAME", -1.0)
    with pytest.raises(RuntimeError, match="recomputed activations change a gradient"):
        list(step_costs.recompute_rows("a", SMALL.config(), images(SMALL, 4), Precision("fp32", ""), timed, "command"))


def test_the_peak_is_what_was_held_at_once():
    def hold():
        first = torch.ones(1_000_000)
        second = torch.ones(2_000_000)
        del first
        return torch.ones(500_000) + float(second[0])

    assert step_costs.peak_bytes(hold) == pytest.approx(12e6, rel=0.05)
