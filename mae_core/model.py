"""The masked autoencoder, in paper order: split → plan → encode → decode → objective (He et al. 2022)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mae_core.atomic import replace_folder
from mae_core.cells import Belief, Cells, Context, Latent, Plan, Terms, View
from mae_core.decoders import DECODERS
from mae_core.draws import Draws, key
from mae_core.encoders import ENCODERS
from mae_core.masking import MASKERS
from mae_core.masking.plan import complement, everything, plan_from_scores, ratio_buckets
from mae_core.modalities import MODALITIES
from mae_core.modalities.base import Modality, mean_error
from mae_core.objectives.options import wanted
from mae_core.objectives.weighted import Gather, Objectives, make_target
from mae_core.registry import nearest, resolve
from mae_core.teacher import Needs, teach

SCHEMA = 1
NOTHING = Context()
"""Is known beside the samples."""


class Reconstruction(NamedTuple):
    """What a model makes of masked samples; all samples are raw, as the dataset holds them."""

    filled: Tensor
    """The true visible cells with the predicted hidden ones pasted in."""
    masked: Tensor
    """What the encoder saw; hidden entries are the modality's ``blank``."""
    predicted: Tensor
    """The hidden cells alone; visible entries are blank."""
    hidden: Tensor
    """Bool, like the samples: the known entries of hidden cells."""
    plan: Plan
    mse: Tensor
    """(B,): the modality's ``error`` over hidden entries; the squared error of pixels in 0..1 for images."""
    used_true_statistics: bool
    note: str
    belief: Belief | None
    """Of every cell, where the target says how sure it is."""

    @property
    def psnr(self) -> Tensor:
        """(B,) dB, of hidden entries; for values whose range is 1."""
        return -10 * self.mse.clamp_min(1e-10).log10()


class MaskedAutoencoder(nn.Module):
    """Glue between a modality, a masker, an encoder, a decoder and an objective; built from a plain dict (``config.json``)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = json.loads(json.dumps(config))
        encoder, decoder = dict(config["encoder"]), dict(config["decoder"])
        modality, objective = dict(config["modality"]), wanted(config["objective"])
        masking = config["masking"]
        self.ratio = float(masking["ratio"])
        self.ratios = ratio_buckets(self.ratio, float(masking.get("ratio_spread", 0.0)))
        self.masker = resolve(MASKERS, masking["strategy"], "masking strategy")()
        kind = resolve(MODALITIES, modality.pop("kind"), "modality")
        _allow(kind.maskers, masking["strategy"], "masking strategy", config["modality"]["kind"])
        for name in (objective.target, *objective.targets):
            _allow(kind.targets, name, "target", config["modality"]["kind"])
        for name in objective.weights:
            _allow(kind.objectives, name, "objective", config["modality"]["kind"])
        self.modality = kind(width=encoder["width"], **modality)
        self.encoder = resolve(ENCODERS, encoder.pop("kind"), "encoder")(**encoder)
        decoder["kinds"] = self.modality.kinds
        self.decoder = resolve(DECODERS, decoder.pop("kind"), "decoder")(encoder["width"], **decoder)
        self.target = make_target(objective.target, objective, self.modality, encoder["width"])
        self.head = self.target.head(self.decoder.width)
        for part in (self.modality, self.encoder, self.decoder):
            part.init_weights()
        # what a plain model has not comes last, so that the weights of both start alike
        self.objectives = Objectives(objective, self.target, self.modality, encoder["width"], self.decoder.width)
        self.needs = self.objectives.needs(self.masker)

    @classmethod
    def build(cls, config: Mapping[str, Any], seed: int = 0) -> MaskedAutoencoder:
        """A freshly initialised model; the same seed gives the same weights whatever was drawn before."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(config)

    def forward(
        self,
        raw: Tensor,
        draws: Draws | None = None,
        plan: Plan | None = None,
        context: Context = NOTHING,
        gather: Gather | None = None,
    ) -> Terms:
        """Raw samples → the loss under ``plan``, or under the plan that the masker draws.

        Args:
            raw: (B, …).
            draws: of the masks; may be left out where a plan is given.
            plan: what is hidden.
            context: what is known beside the samples. A model without a teacher is its own, which is what a teacher is at the start.
            gather: (b, F) → (B, F), the rows of all workers with their gradients; this worker's alone by default.
        """
        cells = self.modality.split(raw)
        context = self._taught(cells, context)
        cells = cells._replace(taught=context.teacher)
        if plan is None and draws is None:
            raise ValueError("forward needs draws to make a plan from, or a plan")
        draws = Draws(0, 0, torch.arange(len(raw), device=raw.device)) if draws is None else draws
        ratio = self.ratios[int(draws.shared("ratio") * len(self.ratios))]
        plan = self._draw(cells, draws, ratio, context) if plan is None else plan
        looks = {"masked": (self.view(cells, plan),)}
        for name in self.objectives.views:
            again = draws._replace(seed=key(draws.seed, "second"))
            second = self._draw(cells, again, ratio, context) if name == "second" else plan
            looks[name] = self.parts_apart(cells) if name == "parts" else (self.look(name, cells, second),)
        return self.objectives(looks, gather)

    def _draw(self, cells: Cells, draws: Draws, ratio: float, context: Context) -> Plan:
        return plan_from_scores(self.masker.score(cells, draws, context).scores, ratio, cells.valid)

    def _taught(self, cells: Cells, context: Context) -> Context:
        """``context`` with what a teacher says, where that is needed: its own, or what the model says of itself."""
        if context.teacher is not None or not self.needs.copy:
            return context
        return context._replace(teacher=teach(self, cells, self.needs))

    def view(self, cells: Cells, plan: Plan) -> View:
        """What the model makes of the kept cells of ``plan``, and what it predicts of the hidden ones."""
        latent = self.encoder(self.modality, cells, plan)
        decoded = self.decoder(latent, plan, cells.coords, cells.kind)
        return View(cells, plan, latent, self.head(decoded, plan), decoded)

    def look(self, name: str, cells: Cells, plan: Plan) -> View:
        """A view of which nothing is predicted: ``second``, which keeps what ``plan`` says, its ``complement_of_0``, or ``full``."""
        if name == "complement_of_0":
            plan = complement(plan)
        elif name == "full":
            plan = everything(cells.coords.shape[-2], len(plan.keep), cells.valid, cells.coords.device)
        return View(cells, plan, self.encoder(self.modality, cells, plan), None)

    def parts_apart(self, cells: Cells) -> tuple[View, ...]:
        """Each part of joint samples, whole and encoded by itself, in the order of the parts; nothing is predicted."""
        plans = self.modality.alone(cells).values()
        return tuple(View(cells, plan, self.encoder(self.modality, cells, plan), None) for plan in plans)

    def plan(self, raw: Tensor, ratio: float, strategy: str, seed: int, ids: Tensor | None = None) -> Plan:
        """The plan that ``strategy`` draws at ``ratio``; the same (seed, id, grid) gives the same plan in every model."""
        cells = self.modality.split(raw)
        ids = torch.arange(len(raw), device=raw.device) if ids is None else ids
        masker = resolve(MASKERS, strategy, "masking strategy")()
        scored = masker.score(cells, Draws(seed, 0, ids), self._led(masker, cells))
        return plan_from_scores(scored.scores, ratio, cells.valid)

    def _led(self, masker: Any, cells: Cells) -> Context:
        """What a masker that a teacher leads is told after training: what the model says itself."""
        what = getattr(masker, "taught", "")
        if not what or (what == "difficulty" and "loss_ranking" not in self.objectives.heads):
            return NOTHING
        return Context(1.0, teach(self, cells, Needs(**{what: True})))

    @torch.no_grad()
    def reconstruct(
        self,
        raw: Tensor,
        ratio: float | None = None,
        strategy: str | None = None,
        seed: int = 0,
        ids: Tensor | None = None,
        plan: Plan | None = None,
    ) -> Reconstruction:
        """Hides part of ``raw``, predicts it, and pastes the true visible cells back in.

        Ratio and strategy default to those of the training. ``ids`` (B,) long name the samples for the mask's draw.
        """
        ratio = (self.ratio or self.modality.default_ratio) if ratio is None else ratio
        strategy = strategy or self.config["masking"]["strategy"]
        plan = self.plan(raw, ratio, strategy, seed, ids) if plan is None else plan
        cells = self.modality.split(raw)
        decoded = self.target.decode(self.view(cells, plan).prediction, cells, plan)
        filled = self.modality.paste(raw, decoded.values, plan)
        hidden = self.modality.covers(raw, plan.hide, plan.hide_ok)
        blank = torch.full_like(raw, self.modality.blank)
        note = (
            "shown with the true mean and variance of each hidden patch: compare structure, not brightness"
            if decoded.used_true_statistics
            else ""
        )
        return Reconstruction(
            filled=filled,
            masked=torch.where(hidden, blank, raw),
            predicted=torch.where(hidden, filled, blank),
            hidden=hidden,
            plan=plan,
            mse=mean_error(self.modality.error(filled, raw), hidden),
            used_true_statistics=decoded.used_true_statistics,
            note=note,
            belief=None if decoded.belief is None else decoded.belief.of_all(plan, cells.coords.shape[-2]),
        )

    def encode(self, raw: Tensor, pool: str = "features", layer: int | None = None) -> Tensor:
        """Of whole, never masked samples: the modality's ``features`` (B, F), ``mean`` or ``global`` (B, D), ``tokens`` (B, G + N, D).

        ``layer`` counts blocks from the input; None is the last.
        """
        return encoded(self.encoder, self.modality, raw, pool, layer)

    def recompute_activations(self, on: bool = True) -> None:
        """Trade about a third more time for much less activation memory."""
        self.encoder.recompute = self.decoder.recompute = on

    def save(self, folder: str | Path, card: str = "") -> Path:
        """Writes ``model.safetensors``, ``config.json`` and ``card.md`` to ``folder``, replacing it in one step."""
        with replace_folder(Path(folder)) as staging:
            weights = {name: value.contiguous() for name, value in self.state_dict().items()}
            save_file(weights, str(staging / "model.safetensors"))
            config = {**self.config, "schema": SCHEMA}
            (staging / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
            (staging / "card.md").write_text(card or "# A masked autoencoder\n\nSee config.json.\n")
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> MaskedAutoencoder:
        """The model that ``save`` wrote, in eval mode on the CPU. Raises ValueError for a folder that is not one."""
        folder = Path(folder)
        config = read_config(folder)
        try:
            model = cls.build(config)
        except (KeyError, TypeError, AttributeError) as problem:
            found = f"{type(problem).__name__}: {problem}"
            raise ValueError(
                f"{folder / 'config.json'} does not describe a model ({found}): export it again"
            ) from problem
        weights = folder / "model.safetensors"
        try:
            model.load_state_dict(load_file(str(weights)))
        except (OSError, SafetensorError, RuntimeError) as problem:
            raise ValueError(f"{weights} does not hold the weights that config.json describes: {problem}") from problem
        return model.eval()


def encoded(encoder: nn.Module, modality: Modality, raw: Tensor, pool: str, layer: int | None = None) -> Tensor:
    """What ``MaskedAutoencoder.encode`` gives, of any encoder."""
    cells = modality.split(raw)
    latent: Latent = encoder(modality, cells, None, layer)
    if pool == "features":
        return modality.features(latent.tokens[:, -cells.coords.shape[-2] :], cells)
    if pool == "mean":
        return latent.pooled
    if pool == "global":
        return latent.tokens[:, 0]
    if pool == "tokens":
        return latent.tokens
    raise ValueError(f"unknown pool {pool!r}: there are features, mean, global, tokens")


def _allow(known: tuple[str, ...], name: str, what: str, modality: str) -> None:
    if name not in known:
        raise ValueError(
            f"{what} {name!r} does not fit the modality {modality!r}{nearest(name, known)}: there are {', '.join(known)}"
        )


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of a model folder, its schema checked."""
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} is no model folder: config.json is missing. `dvc repro` makes models under models/")
    try:
        config = json.loads(path.read_text())
    except ValueError as problem:
        raise ValueError(f"{path} is not JSON ({problem}): export the model again") from problem
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds a {type(config).__name__} instead of a mapping: export the model again")
    if config.get("schema") != SCHEMA:
        raise ValueError(f"{path} has schema {config.get('schema')!r}, this version reads {SCHEMA}: export it again")
    return config
