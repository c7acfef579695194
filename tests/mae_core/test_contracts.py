"""What every combination of parts must do. Rows are read from the registry tables, so a new part is tested by being registered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pairwise import full, pairwise
from torch import Tensor

from mae_core.cells import gather_cells
from mae_core.decoders import DECODERS
from mae_core.draws import Draws
from mae_core.encoders import ENCODERS
from mae_core.layers import Block
from mae_core.masking import MASKERS
from mae_core.masking.plan import count_kept
from mae_core.modalities import MODALITIES
from mae_core.model import MaskedAutoencoder
from mae_core.objectives import OBJECTIVES
from mae_core.targets import TARGETS

GEOMETRIES = {"square": ([8, 8], 2), "wide": ([8, 12], 4), "odd grid, oblong patches": ([9, 10], [3, 2])}
"""Per modality: what a sample looks like, and how it is cut."""
SAMPLES: dict[str, dict[str, Any]] = {"image": {"geometries": GEOMETRIES, "channels": (1, 2, 3, 4)}}
ENCODER_SIZES: dict[str, dict[str, Any]] = {"vit": {"width": 16, "depth": 2, "heads": 2}}
DECODER_SIZES: dict[str, dict[str, Any]] = {"joint": {"width": 8, "depth": 2, "heads": 2}}

FACTORS = {
    "modality": list(MODALITIES),
    "masker": list(MASKERS),
    "encoder": list(ENCODERS),
    "decoder": list(DECODERS),
    "target": list(TARGETS),
    "objective": list(OBJECTIVES),
    "geometry": list(GEOMETRIES),
    "channels": [1, 2, 3, 4],
    "ratio": [0.0, 0.5, 0.75, 0.95],
    "batch": [1, 3],
}


def config_of(case: dict[str, Any]) -> dict[str, Any]:
    size, patch = SAMPLES[case["modality"]]["geometries"][case["geometry"]]
    channels = case["channels"]
    return {
        "modality": {
            "kind": case["modality"],
            "channels": channels,
            "size": size,
            "patch": patch,
            "mean": [0.3 + 0.1 * c for c in range(channels)],
            "std": [0.2 + 0.05 * c for c in range(channels)],
        },
        "encoder": {"kind": case["encoder"], **ENCODER_SIZES[case["encoder"]]},
        "decoder": {"kind": case["decoder"], **DECODER_SIZES[case["decoder"]]},
        "masking": {"strategy": case["masker"], "ratio": case["ratio"]},
        "objective": {case["objective"]: 1.0, "target": case["target"]},
    }


class Subject:
    """One combination: its config, a model with lively weights, raw samples and draws."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.case = case
        self.config = config_of(case)
        self.model = self.build()
        channels, size = case["channels"], self.config["modality"]["size"]
        generator = torch.Generator().manual_seed(5)
        self.raw = torch.randint(0, 256, (case["batch"], channels, *size), generator=generator).to(torch.uint8)
        self.draws = Draws(7, 3, torch.arange(10, 10 + case["batch"]))

    def build(self) -> MaskedAutoencoder:
        """Biases and tokens away from zero, so that a test sees them."""
        model = MaskedAutoencoder.build(self.config, seed=1)
        generator = torch.Generator().manual_seed(9)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        return model

    def gradients(self, model: MaskedAutoencoder) -> dict[str, Tensor]:
        model.zero_grad()
        model(self.raw, self.draws).total.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    def plan(self) -> Any:
        """One that hides something, also where training hides nothing."""
        return self.model.plan(self.raw, self.case["ratio"] or 0.5, self.case["masker"], seed=2)


def loss_is_finite_and_counted(s: Subject) -> None:
    terms = s.model(s.raw, s.draws)
    cells = s.model.modality.cells
    kept = count_kept(cells, s.case["ratio"])
    hidden = cells - kept or cells
    assert terms.total.shape == () and torch.isfinite(terms.total) and terms.total > 0
    assert terms.per_cell.shape == (s.case["batch"], hidden) and terms.hidden == s.case["batch"] * hidden
    torch.testing.assert_close(terms.per_cell.mean(), terms.total.detach())
    assert set(terms.parts) == {s.case["objective"]} and not terms.per_cell.requires_grad


def every_parameter_gets_a_gradient(s: Subject) -> None:
    found = s.gradients(s.model)
    for name, _ in s.model.named_parameters():
        assert name in found, f"{name} has no gradient"
        assert torch.isfinite(found[name]).all(), name
        assert found[name].any(), f"{name} has a gradient of zero"


def recomputed_activations_give_equal_gradients(s: Subject) -> None:
    expected = s.gradients(s.model)
    calls = []  # counted on entering: torch leaves a recomputed block as soon as it has what backward needs
    for module in s.model.modules():
        if isinstance(module, Block):
            module.register_forward_pre_hook(lambda *_: calls.append(1))
    s.gradients(s.model)
    once = len(calls)
    s.model.recompute_activations()
    found = s.gradients(s.model)
    assert len(calls) == 3 * once
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def the_same_again(s: Subject) -> None:
    other = s.build()
    torch.rand(7)
    assert torch.equal(s.model(s.raw, s.draws).total, other(s.raw, s.draws).total)
    assert torch.equal(s.model.eval()(s.raw, s.draws).total, other.train()(s.raw, s.draws).total)
    assert torch.equal(s.model.reconstruct(s.raw, seed=4).filled, other.reconstruct(s.raw, seed=4).filled)
    assert torch.equal(s.model.encode(s.raw), other.encode(s.raw))


def bf16_is_close(s: Subject) -> None:
    expected = s.model(s.raw, s.draws)
    with torch.autocast("cpu", torch.bfloat16):
        found = s.model(s.raw, s.draws)
    assert found.total.dtype == torch.float32
    torch.testing.assert_close(found.total, expected.total, rtol=0.02, atol=0.02)
    found.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in s.model.parameters())
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        features = s.model.encode(s.raw).float()
    torch.testing.assert_close(features, s.model.encode(s.raw).detach(), rtol=0.05, atol=0.05)


def visible_cells_come_back_bit_equal(s: Subject) -> None:
    plan = s.plan()
    found = s.model.reconstruct(s.raw, plan=plan)
    assert found.filled.dtype == torch.uint8 and found.filled.shape == s.raw.shape
    original, returned = (s.model.modality.split(x.float()).values for x in (s.raw, found.filled))
    assert torch.equal(gather_cells(original, plan.keep), gather_cells(returned, plan.keep))
    grey = s.model.modality.split(found.masked.float()).values
    assert (gather_cells(grey, plan.hide) == 128).all()
    assert torch.equal(gather_cells(grey, plan.keep), gather_cells(original, plan.keep))
    alone = s.model.modality.split(found.predicted.float()).values
    assert torch.equal(gather_cells(alone, plan.hide), gather_cells(returned, plan.hide))
    assert (gather_cells(alone, plan.keep) == 128).all()
    assert found.used_true_statistics == bool(found.note)
    error = ((gather_cells(original, plan.hide) - gather_cells(returned, plan.hide)) / 255).square().mean((1, 2))
    torch.testing.assert_close(found.mse, error)
    torch.testing.assert_close(found.psnr, -10 * error.log10())


def hidden_cells_do_not_leak(s: Subject) -> None:
    """The encoder's output and the prediction depend on visible pixels alone; a picture in true statistics may depend on more."""
    plan = s.plan()
    cells = s.model.modality.split(s.raw)
    hidden = torch.zeros_like(cells.values).scatter(1, plan.hide[..., None].expand(-1, -1, cells.values.shape[-1]), 1.0)
    mask = s.model.modality.to_map(hidden).bool()
    noise = torch.randint(0, 256, s.raw.shape, generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    other = torch.where(mask, noise, s.raw)
    assert not torch.equal(other, s.raw)

    def look(raw: Tensor) -> tuple[Tensor, Tensor]:
        cells = s.model.modality.split(raw)
        latent = s.model.encoder(s.model.modality, cells, plan)
        return latent.tokens, s.model.head(s.model.decoder(latent, plan, cells.coords), plan)

    assert all(torch.equal(a, b) for a, b in zip(look(s.raw), look(other)))
    pictures = [s.model.reconstruct(raw, plan=plan).predicted for raw in (s.raw, other)]
    if not s.model.reconstruct(s.raw, plan=plan).used_true_statistics:
        assert torch.equal(*pictures)


def samples_do_not_touch_each_other(s: Subject) -> None:
    """What a sample gives is the same alone as in a batch, with its own mask."""
    whole = s.model(s.raw, s.draws)
    for i in range(s.case["batch"]):
        alone = s.model(s.raw[i : i + 1], s.draws._replace(ids=s.draws.ids[i : i + 1]))
        torch.testing.assert_close(alone.per_cell[0], whole.per_cell[i], rtol=1e-4, atol=1e-5)


def encode_never_masks(s: Subject) -> None:
    """Features need no draw, do not depend on how training masks, and see every cell."""
    masking = {"strategy": s.case["masker"], "ratio": 0.9}
    other = MaskedAutoencoder.build({**s.config, "masking": masking}, seed=1)
    other.load_state_dict(s.model.state_dict())
    for pool, shape in {"mean": (16,), "global": (16,), "tokens": (s.model.modality.cells + 1, 16)}.items():
        found = s.model.encode(s.raw, pool)
        assert found.shape == (s.case["batch"], *shape)
        assert torch.equal(found, other.encode(s.raw, pool))
    torch.testing.assert_close(s.model.encode(s.raw, "tokens")[:, 1:].mean(1), s.model.encode(s.raw))
    scaled = s.model.modality.scale(s.raw).requires_grad_()
    s.model.encode(scaled, "global").sum().backward()
    assert s.model.modality.split(scaled.grad).values.abs().amax(-1).all()
    assert not torch.equal(s.model.encode(s.raw, layer=1), s.model.encode(s.raw))


def saved_is_loaded(s: Subject, folder: Any = None) -> None:
    s.model.save(folder / "model")
    back = MaskedAutoencoder.load(folder / "model")
    assert {p.name for p in folder.iterdir()} == {"model"}
    assert torch.equal(back.encode(s.raw), s.model.encode(s.raw))
    assert torch.equal(back(s.raw, s.draws).total, s.model(s.raw, s.draws).total)
    a, b = back.reconstruct(s.raw, seed=1), s.model.reconstruct(s.raw, seed=1)
    assert torch.equal(a.filled, b.filled) and torch.equal(a.plan.hide, b.plan.hide)
    assert {**s.config, "schema": 1} == back.config


CHECKS: list[Callable[..., None]] = [
    loss_is_finite_and_counted,
    every_parameter_gets_a_gradient,
    recomputed_activations_give_equal_gradients,
    the_same_again,
    bf16_is_close,
    visible_cells_come_back_bit_equal,
    hidden_cells_do_not_leak,
    samples_do_not_touch_each_other,
    encode_never_masks,
    saved_is_loaded,
]
CASES = pairwise(FACTORS)


def name_of(case: dict[str, Any]) -> str:
    return "-".join(str(value) for name, value in case.items() if len(FACTORS[name]) > 1)


def run(check: Callable[..., None], case: dict[str, Any], folder: Any) -> None:
    check(Subject(case), *([folder] if check is saved_is_loaded else []))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_contract(case, check, tmp_path):
    run(check, case, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", full(FACTORS), ids=name_of)
def test_contract_in_full(case, tmp_path):
    for check in CHECKS:
        folder = tmp_path / check.__name__
        folder.mkdir()
        run(check, case, folder)


def test_every_row_is_covered():
    """A part that is registered without saying here what it looks like would be a KeyError above; this says so in words."""
    assert set(SAMPLES) == set(MODALITIES), "give the new modality its samples"
    assert set(ENCODER_SIZES) == set(ENCODERS) and set(DECODER_SIZES) == set(DECODERS), "give the new part a small size"
