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
from mae_core.building import build_decoder, build_encoder, check_masker
from mae_core.cells import Belief, Cells, Context, Latent, Plan, Terms, View, pool_mean
from mae_core.draws import Draws
from mae_core.masking.making import context_for, make_masker
from mae_core.masking.plan import complement, everything, plan_from_scores
from mae_core.masking.ratio import ratios_of
from mae_core.masking.share import shared
from mae_core.modalities import MODALITIES
from mae_core.modalities.base import Modality, mean_error
from mae_core.objectives.options import wanted
from mae_core.objectives.weighted import Gather, Objectives, make_target
from mae_core.registry import allow, resolve
from mae_core.teacher import Needs, teach

SCHEMA = 1
NOTHING, TRAINED = Context(), Context(progress=1.0)
"""Known beside the samples: nothing, and that training is over."""


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
        objective, masking = wanted(config["objective"]), config["masking"]
        self.ratio = float(masking["ratio"])
        self.ratios = ratios_of(masking)
        name, width = config["modality"]["kind"], config["encoder"]["width"]
        kind = resolve(MODALITIES, name, "modality")
        allow(kind.maskers, masking["strategy"], "masking strategy", name)
        for target in (objective.target, *objective.targets):
            allow(kind.targets, target, "target", name)
        for weighted in objective.weights:
            allow(kind.objectives, weighted, "objective", name)
        self.modality, self.encoder = build_encoder(config)
        check_masker(config)
        self.masker = make_masker(masking, width)
        if hasattr(self.masker, "check_axes"):
            self.masker.check_axes(self.modality.coords.shape[-1])
        for family in getattr(self.masker, "families", ()):
            allow(kind.maskers, family, "masking strategy", name)
        self.decoder = build_decoder(config, self.modality, self.encoder)
        self.target = make_target(objective.target, objective, self.modality, width)
        self.head = self.target.head(self.decoder.width)
        for part in (self.modality, self.encoder, self.decoder):
            part.init_weights()
        # what a plain model has not comes last, so that the weights of both start alike
        self.objectives = Objectives(objective, self.target, self.modality, width, self.decoder.width)
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
            draws: of the masks, with the ids by which objectives that compare samples know copies; may be left out where a plan is given,
                and all samples are then different ones.
            plan: what is hidden.
            context: what is known beside the samples. A model without a teacher is its own, which is what a teacher is at the start.
            gather: (b, F) → (B, F), the rows of all workers with their gradients; this worker's alone by default.
        """
        cells = self.modality.split(raw)
        context = self._taught(cells, context)
        cells = cells._replace(taught=context.teacher, draws=draws)
        if plan is None and draws is None:
            raise ValueError("forward needs draws to make a plan from, or a plan")
        draws = Draws(0, 0, torch.arange(len(raw), device=raw.device)) if draws is None else draws
        ratio = self.ratio_at(draws, context)
        share = self.decoder.share if plan is None else 1.0  # a plan that is given is predicted whole
        plan = self._draw(cells, draws, ratio, context) if plan is None else plan
        asked = shared(plan, share, draws)
        looks: dict[str, tuple[View, ...]] = {"masked": (self.view(cells, asked),)}
        for name in self.objectives.views:
            seen = cells
            if name == "augmented" and context.again is not None:
                seen = self.modality.split(context.again)._replace(draws=draws)
            drawn = name in ("second", "augmented")
            other = self._draw(seen, draws.apart("second"), ratio, context) if drawn else plan
            looks[name] = self.parts_apart(cells) if name == "parts" else (self.look(name, seen, other),)
        return self.objectives(looks, draws.ids, gather)

    def ratio_at(self, draws: Draws, context: Context) -> float:
        """The mask ratio of one batch: of the arm that a bandit holds, or drawn from those of the training."""
        of_arm = None if context.arm is None else self.masker.ratio(context.arm)
        return of_arm or self.ratios.at(draws, context.progress)

    def _draw(self, cells: Cells, draws: Draws, ratio: float, context: Context) -> Plan:
        masker = self.masker if context.arm is None else self.masker.family(context.arm)
        context = context_for(masker, self.modality, cells, context)
        return plan_from_scores(masker.score(cells, draws, context).scores, ratio, cells.valid)

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
        """A view of which nothing is predicted: what ``plan`` keeps (``second``, ``augmented``), its ``complement_of_0``, or ``full``."""
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
        """The plan that ``strategy`` draws at ``ratio``.

        Without options the same (seed, id, grid) gives the same plan in every model. The strategy of the training has the options of
        the training, and what it learned there; another has its defaults.
        """
        cells = self.modality.split(raw)
        ids = torch.arange(len(raw), device=raw.device) if ids is None else ids
        own = strategy == self.config["masking"]["strategy"]
        masker = self.masker if own else make_masker({"strategy": strategy})
        context = context_for(masker, self.modality, cells, self._led(masker, cells))
        return plan_from_scores(masker.score(cells, Draws(seed, 0, ids), context).scores, ratio, cells.valid)

    def _led(self, masker: Any, cells: Cells) -> Context:
        """What a masker that a teacher leads is told after training: what the model says itself."""
        what = getattr(masker, "taught", "")
        if not what or (what == "difficulty" and "loss_ranking" not in self.objectives.heads):
            return TRAINED
        return TRAINED._replace(teacher=teach(self, cells, Needs(**{what: True})))

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

        Where the encoder's ``global_pool`` is ``token``, the features are the first global token.

        ``layer`` counts blocks from the input; None is the last.
        """
        return encoded(self.encoder, self.modality, raw, pool, layer)

    def recompute_activations(self, blocks: bool | int = True) -> None:
        """Trade about a third more time for much less activation memory: of all blocks but the last, or of so many, the encoder's first.

        Backward begins with the last block: what it would forget is needed at once.
        """
        of_encoder = len(self.encoder.blocks)
        most = max(of_encoder + len(self.decoder.blocks) - 1, 0)
        count = most * blocks if isinstance(blocks, bool) else blocks
        self.encoder.recompute = min(count, of_encoder)
        self.decoder.recompute = max(count - of_encoder, 0)

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
        if config.get("type") == "classifier":
            raise ValueError(f"{folder} holds a classifier, which has no decoder: read it with Classifier.load")
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
        return features_of(encoder, modality, latent, cells)
    if pool == "mean":
        return pool_mean(latent.tokens[:, -cells.coords.shape[-2] :], cells.valid)
    if pool == "global":
        if getattr(encoder, "global_token", True) is None:
            raise ValueError("the encoder has no global token: ask for features, mean or tokens")
        return latent.tokens[:, 0]
    if pool == "tokens":
        return latent.tokens
    raise ValueError(f"unknown pool {pool!r}: there are features, mean, global, tokens")


def features_of(
    encoder: nn.Module, modality: Modality, latent: Latent, cells: Cells, plan: Plan | None = None
) -> Tensor:
    """(B, F): the modality's ``features`` of the encoded ``cells``, of the kept ones of ``plan`` alone where it is given.

    Where the encoder's ``global_pool`` is ``token``, the first global token.
    """
    if encoder.global_pool == "token":
        return latent.pooled
    if plan is None:
        return modality.features(latent.tokens[:, -cells.coords.shape[-2] :], cells)
    kept = latent.tokens[:, -plan.keep.shape[1] :]
    index = plan.keep.unsqueeze(-1).expand_as(kept)
    seen = torch.zeros(len(kept), cells.coords.shape[-2], dtype=torch.bool, device=kept.device)
    seen = seen.scatter(
        1, plan.keep, torch.ones_like(plan.keep, dtype=torch.bool) if plan.keep_ok is None else plan.keep_ok
    )
    tokens = kept.new_zeros(*seen.shape, kept.shape[-1]).scatter(1, index, kept)
    return modality.features(tokens, cells._replace(valid=seen))


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
