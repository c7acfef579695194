"""The objectives of a model: which there are, what each sees, and their weighted sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mae_core.cells import Summary, Terms, View
from mae_core.objectives import OBJECTIVES
from mae_core.objectives.options import Wanted
from mae_core.objectives.projector import Projector
from mae_core.objectives.reconstruction import Reconstruction
from mae_core.registry import resolve
from mae_core.targets import TARGETS
from mae_core.teacher import Needs

Gather = Callable[[Tensor], Tensor]
"""(b, F) → (B, F): the rows of all workers, with their gradients where they have some."""


def make_target(name: str, asked: Wanted, modality: Any, width: int) -> Any:
    """The target ``name`` with what it takes of a config. Raises ValueError for what neither the main target nor another takes.

    Args:
        name: a row of ``TARGETS``.
        asked: the section of the config.
        modality: of the cells.
        width: D of the encoder.
    """
    takes = {one: getattr(resolve(TARGETS, one, "target"), "takes", ()) for one in (asked.target, *asked.targets)}
    if extra := set(asked.given) - {"source"} - {key for keys in takes.values() for key in keys}:
        raise ValueError(f"objective.{min(extra)} means nothing to the target {asked.target!r}: leave it out")
    known = {**asked.given, "width": width}
    return resolve(TARGETS, name, "target")(modality, **{key: known[key] for key in takes[name] if key in known})


class Objectives(nn.Module):
    """Objectives with weights, the heads of those that predict something of their own, and the projector of those that compare samples.

    Args:
        asked: the section of the config.
        target: the main one; its head is the model's own.
        modality: of the cells.
        width: D of the encoder.
        decoder_width: D_dec.
    """

    def __init__(self, asked: Wanted, target: Any, modality: Any, width: int, decoder_width: int) -> None:
        super().__init__()
        self.latent_blocks = asked.latent_blocks
        self.weights = {**asked.weights, **dict(sorted(asked.targets.items()))}
        self.each: dict[str, Any] = {
            name: resolve(OBJECTIVES, name, "objective")(target, asked.options) for name in asked.weights
        }
        for name in sorted(asked.targets):
            self.each[name] = Reconstruction(make_target(name, asked, modality, width), name=name)
        self.views = sorted({view for one in self.each.values() for view in one.views} - {"masked"})
        self.compares = bool(asked.comparing)
        heads = [(name, one) for name, one in self.each.items() if name != "reconstruction" and hasattr(one, "head")]
        self.heads = nn.ModuleDict({_key(name): one.head(decoder_width) for name, one in heads})
        self.projector = Projector(width, asked.projector) if asked.projector else None
        self.traced = False
        """Whether to give away what gradients of single objectives are taken of."""

    def needs(self, masker: Any) -> Needs:
        """What ``masker`` and the targets ask of teachers. Raises ValueError for a ranking that nobody learns."""
        targets = [one.target for one in self.each.values() if isinstance(one, Reconstruction)]
        asked = {getattr(one, "taught", "") for one in (masker, *targets)}
        if "difficulty" in asked and "loss_ranking" not in self.each:
            raise ValueError(
                "masking.strategy loss_ranked is led by a ranking that has to be learned: give objective.loss_ranking a weight, such as 1"
            )
        led = getattr(masker, "taught", "")
        if "augmented" in self.views and led:
            raise ValueError(
                "objective.pair augmented: the teacher that leads the masks has seen the other picture alone; take pair second, or masks "
                "that no teacher leads"
            )
        rest = {what: what in asked for what in ("attention", "difficulty", "features")}
        return Needs(self.latent_blocks if "latent" in asked else 0, **rest)

    def forward(self, looks: dict[str, tuple[View, ...]], ids: Tensor, gather: Gather | None = None) -> Terms:
        """The views by name → the weighted sum, and every part without its weight.

        Args:
            looks: ``masked``, with its prediction, and all of ``views``.
            ids: (b,) long, which sample each is.
            gather: this worker's rows alone by default.
        """
        if self.compares and gather is not None:
            ids = gather(ids.unsqueeze(1)).squeeze(1)
        summaries: dict[str, tuple[Summary, ...]] = {}
        (seen,) = looks["masked"]
        terms: dict[str, Terms] = {}
        for name, one in self.each.items():
            if getattr(one, "compares", False):
                for view in one.views:
                    if view not in summaries:
                        summaries[view] = tuple(self.summary(look, ids, gather) for look in looks[view])
                terms[name] = one.forward(tuple(s for view in one.views for s in summaries[view]))
            elif name == "reconstruction":
                terms[name] = one.forward((seen,))
                seen = seen._replace(error=terms[name].per_cell)
            else:
                terms[name] = one.forward((seen._replace(prediction=self.heads[_key(name)](seen.decoded, seen.plan)),))
        each = {name: self.weights[name] * term.total for name, term in terms.items()}
        parts = {part: value for term in terms.values() for part, value in term.parts.items()}
        counts = {part: count for term in terms.values() for part, count in term.counts.items()}
        total = torch.stack(list(each.values())).sum()
        found = terms["reconstruction"]._replace(total=total, parts=parts, counts=counts)
        if not self.traced:
            return found
        return found._replace(
            each=each, latents=tuple(x for some in looks.values() for one in some for x in one.latent.outputs)
        )

    def summary(self, view: View, ids: Tensor, gather: Gather | None = None) -> Summary:
        """A view's pooled features of all workers' samples, which are ``ids`` (B,), through the projector where there is one."""
        features = view.latent.pooled if self.projector is None else self.projector(view.latent.pooled)
        ok = view.plan.keep_ok
        there = torch.ones_like(features[:, 0]) if ok is None else ok.any(1)
        both = torch.cat([features.float(), there.unsqueeze(1).float()], 1)
        both = both if gather is None else gather(both)
        return Summary(both[:, :-1], both[:, -1] > 0.5, ids)


def _key(name: str) -> str:
    """Of a head among its fellows: ``values`` is what a dict of modules calls a method of its own."""
    return f"{name}_" if hasattr(nn.ModuleDict, name) else name
