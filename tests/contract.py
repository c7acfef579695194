"""The contract of every combination of parts, as checks that a test runs on cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mae_core.building import fits, lacking
from mae_core.decoders import DECODERS
from mae_core.draws import Draws
from mae_core.evaluation.classifier import Classifier
from mae_core.masking.plan import count_kept, plan_from_scores
from mae_core.modalities import MODALITIES
from mae_core.model import MaskedAutoencoder
from mae_core.registry import resolve

ENCODER_SIZES: dict[str, dict[str, Any]] = {
    "vit": {"width": 16, "depth": 2, "heads": 2},
    "conv": {"width": 16, "depth": 2, "stages": 2, "kernel": 3, "positions": "sincos"},
    "hybrid": {"width": 16, "depth": 2, "heads": 2},
}
DECODER_SIZES: dict[str, dict[str, Any]] = {
    "joint": {"width": 8, "depth": 2, "heads": 2},
    "cross": {"width": 8, "depth": 2, "heads": 2},
    "linear": {"width": 8, "heads": 2},
    "unet": {"width": 8, "depth": 1, "kernel": 3},
}
KINDS = {name: resolve(MODALITIES, name, "modality") for name in MODALITIES}
EXAMPLES = {name: kind.examples() for name, kind in KINDS.items()}


def factors_of(modality: str) -> dict[str, Any]:
    """What varies within a modality."""
    targets = [target for target in KINDS[modality].targets if target != "features"]
    return {
        "modality": [modality],
        "example": list(EXAMPLES[modality]),
        "masker": KINDS[modality].maskers,
        "encoder": KINDS[modality].encoders,
        "decoder": list(DECODERS),
        "target": targets,
        "beside": ["", *targets],
        "objective": KINDS[modality].objectives,
        "ratio": [0.0, 0.5, 0.75, 0.95],
        "batch": [1, 3],
    }


def possible(case: dict[str, Any]) -> bool:
    """Whether its parts go together at all."""
    networks = fits(case["encoder"], case["decoder"]) and not lacking(case["encoder"], case["masker"])
    return networks and case.get("beside") != case["target"]


def parts_of(case: dict[str, Any]) -> set[str]:
    """What is minimised: a mask that is led by a ranking needs the objective that learns it."""
    led = {"loss_ranking"} if case["masker"] == "loss_ranked" else set()
    return {"reconstruction", case["objective"], *led, *beside(case)}


def beside(case: dict[str, Any]) -> dict[str, float]:
    """Targets beside the main one, with their weights; a case that says nothing of them has none."""
    return {case["beside"]: 1.0} if case.get("beside") else {}


def config_of(case: dict[str, Any]) -> dict[str, Any]:
    return {
        "modality": {"kind": case["modality"], **EXAMPLES[case["modality"]][case["example"]].config},
        "encoder": {"kind": case["encoder"], **ENCODER_SIZES[case["encoder"]]},
        "decoder": {"kind": case["decoder"], **DECODER_SIZES[case["decoder"]]},
        "masking": {"strategy": case["masker"], "ratio": case["ratio"]},
        "objective": {
            **dict.fromkeys(sorted(parts_of(case) - {*beside(case)}), 1.0),
            "target": case["target"],
            "targets": beside(case),
        },
    }


def alike(a: Tensor, b: Tensor) -> bool:
    """Equal, where missing entries equal each other."""
    both = a.isnan() & b.isnan() if a.is_floating_point() else torch.zeros_like(a, dtype=torch.bool)
    return a.shape == b.shape and bool(((a == b) | both).all())


class Subject:
    """One combination: its config, a model with lively weights, raw samples and draws."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.case = case
        self.config = config_of(case)
        self.model = self.build()
        self.raw = self.sample(5)
        self.draws = Draws(7, 3, torch.arange(10, 10 + case["batch"]))

    def sample(self, seed: int) -> Tensor:
        example = EXAMPLES[self.case["modality"]][self.case["example"]]
        return example.raw(self.case["batch"], torch.Generator().manual_seed(seed))

    def replaced(self, where: Tensor) -> Tensor:
        """The samples with other values at the known entries of ``where``."""
        other = self.sample(6)
        known = where & ~other.isnan() if other.is_floating_point() else where
        return torch.where(known, other, self.raw)

    def missing(self) -> Tensor:
        """Bool like the samples: entries that are not there."""
        everything = torch.arange(self.model.modality.cells).expand(len(self.raw), -1)
        return ~self.model.modality.covers(self.raw, everything, None)

    def build(self) -> MaskedAutoencoder:
        """Biases and tokens away from zero, so that a test sees them."""
        model = MaskedAutoencoder.build(self.config, seed=1)
        generator = torch.Generator().manual_seed(9)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        return model

    def gradients(self, model: MaskedAutoencoder, steps: int = 1) -> dict[str, Tensor]:
        """The sum over the masks of so many steps."""
        model.zero_grad()
        for step in range(steps):
            model(self.raw, self.draws._replace(step=3 + step)).total.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    @property
    def shown(self) -> bool:
        """Whether what is predicted is a sample."""
        return getattr(self.model.target, "shown", True)

    def plan(self) -> Any:
        """One that hides something, also where training hides nothing."""
        return self.model.plan(self.raw, self.case["ratio"] or 0.5, self.case["masker"], seed=2)


def loss_is_finite_and_counted(s: Subject) -> None:
    terms = s.model(s.raw, s.draws)
    cells = s.model.modality.split(s.raw)
    n = cells.coords.shape[-2]
    valid = cells.valid.sum(1).tolist() if cells.valid is not None else [n] * s.case["batch"]
    kept = [count_kept(v, s.case["ratio"]) if v > 1 else v for v in valid]
    hidden = [v - k if s.case["ratio"] else v for v, k in zip(valid, kept)]
    assert terms.total.shape == () and torch.isfinite(terms.total) and terms.total > 0
    assert int(terms.hidden) == sum(hidden) and (isinstance(terms.hidden, int) or cells.valid is not None)
    assert len(terms.per_cell) == s.case["batch"]
    if s.case["ratio"]:  # sorted: padding comes last
        real = torch.arange(terms.per_cell.shape[1]) < torch.tensor(hidden)[:, None]
    else:
        real = torch.ones_like(terms.per_cell, dtype=torch.bool) if cells.valid is None else cells.valid
    counted = terms.per_cell[real].sum() / sum(hidden)
    torch.testing.assert_close(counted, terms.parts["reconstruction"])
    asked = parts_of(s.case)
    torch.testing.assert_close(terms.total.detach(), torch.stack([terms.parts[name] for name in asked]).sum())
    assert {name.split("/")[0] for name in terms.parts} == asked and not terms.per_cell.requires_grad


def every_parameter_gets_a_gradient(s: Subject) -> None:
    """Few masks may hide all of one kind every time. Where nothing is hidden, a U-Net has no place for mask tokens."""
    for steps in (8, 60) if s.model.modality.kinds > 1 else (1,):
        found = s.gradients(s.model, steps)
        if all(value.any() for value in found.values()):
            break
    idle = "mask_token" if s.case["decoder"] == "unet" and s.case["ratio"] == 0 else "none"
    for name, parameter in s.model.named_parameters():
        assert (name in found) == parameter.requires_grad, f"{name} has no gradient, or has one that it should not have"
        if not parameter.requires_grad:
            continue
        assert torch.isfinite(found[name]).all(), name
        assert found[name].any() != name.endswith(idle), f"{name} has a gradient of zero"


def recomputed_activations_give_equal_gradients(s: Subject) -> None:
    expected = s.gradients(s.model)
    # counted on entering: torch leaves a recomputed block as soon as backward has what it needs
    calls: Counter[int] = Counter()
    blocks = [*s.model.encoder.blocks, *s.model.decoder.blocks]
    for i, block in enumerate(blocks):
        block.register_forward_pre_hook(lambda *_, i=i: calls.update([i] if torch.is_grad_enabled() else []))
    s.gradients(s.model)
    once = Counter(calls)
    s.model.recompute_activations()
    found = s.gradients(s.model)
    last = len(blocks) - 1  # with which backward begins
    assert once and calls == {i: (2 if i == last else 3) * times for i, times in once.items()}
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def the_same_again(s: Subject) -> None:
    other = s.build()
    torch.rand(7)
    assert torch.equal(s.model(s.raw, s.draws).total, other(s.raw, s.draws).total)
    assert torch.equal(s.model.eval()(s.raw, s.draws).total, other.train()(s.raw, s.draws).total)
    if s.shown:
        assert alike(s.model.reconstruct(s.raw, seed=4).filled, other.reconstruct(s.raw, seed=4).filled)
    assert torch.equal(s.model.encode(s.raw), other.encode(s.raw))


def bf16_is_close(s: Subject) -> None:
    expected = s.model(s.raw, s.draws)
    with torch.autocast("cpu", torch.bfloat16):
        found = s.model(s.raw, s.draws)
    assert found.total.dtype == torch.float32
    # of two errors that are all but equal the other may be the larger in 16 bits, and what ranks them jumps
    for part in expected.parts.keys() - {"loss_ranking"}:
        torch.testing.assert_close(found.parts[part], expected.parts[part], rtol=0.02, atol=0.02)
    found.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in s.model.parameters() if p.requires_grad)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        features = s.model.encode(s.raw).float()
    torch.testing.assert_close(features, s.model.encode(s.raw).detach(), rtol=0.05, atol=0.05)


def visible_cells_come_back_bit_equal(s: Subject) -> None:
    plan, modality = s.plan(), s.model.modality
    if not s.shown:
        with pytest.raises(ValueError, match=f"{s.case['target']!r} predicts what cannot be shown"):
            s.model.reconstruct(s.raw, plan=plan)
        return
    found = s.model.reconstruct(s.raw, plan=plan)
    assert found.filled.dtype == s.raw.dtype and found.filled.shape == s.raw.shape
    keep, hide = modality.covers(s.raw, plan.keep, plan.keep_ok), modality.covers(s.raw, plan.hide, plan.hide_ok)
    assert torch.equal(found.hidden, hide) and hide.any() and keep.any() and not (keep & hide).any()
    blank = torch.full_like(s.raw, modality.blank)
    assert alike(found.filled[~hide & ~s.missing()], s.raw[~hide & ~s.missing()])
    assert alike(found.masked, torch.where(hide, blank, s.raw))
    assert alike(found.predicted, torch.where(hide, found.filled, blank))
    assert found.used_true_statistics == bool(found.note)
    error = modality.error(found.filled, s.raw)
    for i in range(s.case["batch"]):
        torch.testing.assert_close(found.mse[i], error[i][hide[i]].mean())


def hidden_cells_do_not_leak(s: Subject) -> None:
    """The encoder's output and the prediction depend on visible cells alone; a picture in true statistics may depend on more."""
    plan = s.plan()
    other = s.replaced(s.model.modality.covers(s.raw, plan.hide, plan.hide_ok))
    assert not alike(other, s.raw)

    def look(raw: Tensor) -> tuple[Tensor, Tensor]:
        cells = s.model.modality.split(raw)
        view = s.model.view(cells, plan)
        return view.latent.tokens, view.prediction

    everyone = torch.ones(s.case["batch"], 1, dtype=torch.bool)
    seen = torch.ones_like(plan.keep, dtype=torch.bool) if plan.keep_ok is None else plan.keep_ok
    asked = torch.ones_like(plan.hide, dtype=torch.bool) if plan.hide_ok is None else plan.hide_ok
    for a, b, real in zip(look(s.raw), look(other), (torch.cat([everyone, seen], 1), asked)):
        assert torch.equal(a[real], b[real])
    if not s.shown:
        return
    pictures = [s.model.reconstruct(raw, plan=plan).predicted for raw in (s.raw, other)]
    if not s.model.reconstruct(s.raw, plan=plan).used_true_statistics:
        assert alike(*pictures)


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
        assert found.shape == (s.case["batch"], *shape) and torch.isfinite(found).all()
        assert torch.equal(found, other.encode(s.raw, pool))
    for cell in (0, s.model.modality.cells - 1):
        where = s.model.modality.covers(s.raw, torch.full((s.case["batch"], 1), cell), None)
        changed = s.replaced(where)
        if not alike(changed, s.raw):
            assert not torch.equal(s.model.encode(changed), s.model.encode(s.raw)), f"cell {cell} is not seen"
    assert not torch.equal(s.model.encode(s.raw, layer=1), s.model.encode(s.raw))


def heads_read_what_probes_read(s: Subject) -> None:
    """Of whole samples, and of masked ones: a hidden cell does not count, and a plan that keeps every cell changes nothing."""
    head = Classifier.from_pretrained(s.model, ["a", "b"]).eval()
    expected = head.head(head.norm(s.model.encode(s.raw)))
    assert torch.equal(head(s.raw), expected)
    cells = s.model.modality.split(s.raw)
    everything = plan_from_scores(torch.zeros(s.case["batch"], s.model.modality.cells), 0.0, cells.valid)
    assert torch.allclose(head(s.raw, everything), expected, atol=1e-5)
    plan = s.plan()
    other = s.replaced(s.model.modality.covers(s.raw, plan.hide, plan.hide_ok))
    assert torch.equal(head(other, plan), head(s.raw, plan))


def saved_is_loaded(s: Subject, folder: Any = None) -> None:
    s.model.save(folder / "model")
    back = MaskedAutoencoder.load(folder / "model")
    assert {p.name for p in folder.iterdir()} == {"model"}
    assert torch.equal(back.encode(s.raw), s.model.encode(s.raw))
    assert torch.equal(back(s.raw, s.draws).total, s.model(s.raw, s.draws).total)
    if s.shown:
        a, b = back.reconstruct(s.raw, seed=1), s.model.reconstruct(s.raw, seed=1)
        assert alike(a.filled, b.filled) and torch.equal(a.plan.hide, b.plan.hide)
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
    heads_read_what_probes_read,
    saved_is_loaded,
]


def name_of(case: dict[str, Any]) -> str:
    return "-".join(str(value) for value in case.values())


def run(check: Callable[..., None], case: dict[str, Any], folder: Any) -> None:
    check(Subject(case), *([folder] if check is saved_is_loaded else []))
