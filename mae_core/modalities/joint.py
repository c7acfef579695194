"""Joint samples: any set of the other modalities in one model (Bachmann et al. 2022, MultiMAE; Gong et al. 2023, CAV-MAE)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_core.cells import Belief, Cells, Plan
from mae_core.data.augment import Augmentation
from mae_core.draws import Draws
from mae_core.modalities import MODALITIES
from mae_core.modalities.base import OWN, TAUGHT, Example, Facts, Geometry, Mask, Modality
from mae_core.modalities.joint_layout import Column, Known, Layout, columns
from mae_core.modalities.joint_picture import above, beside
from mae_core.modalities.panels import Panel
from mae_core.registry import resolve

BLANK = float("-inf")
"""No part has it as a value."""
FIRST_STD = 0.02
"""Of the kind embedding before training."""
CONSTANT, CONSTANTS = "constant_fill", {"unigram_fill", "column_fill"}
"""Fill of the parts that have no name of their own for their constant, and what others call it."""


class JointModality(Modality):
    """Raw float32 (B, S), the flattened parts behind one another, NaN in all of a part that a sample lacks ↔ the cells of all parts.

    Whole numbers up to 2^24 are exact in float32, so bytes and token numbers come back as they were. Cells are told apart by ``kind``;
    their coordinates are those of their part, with zeros in front where another part has more axes. ``Cells.values`` holds the cells of
    each part.

    Args:
        width: D of the embedding.
        parts: for each its ``name``, its ``kind`` (a row of ``MODALITIES``), and what that modality takes.
    """

    default_ratio = 0.75
    default_target = "parts"
    targets = ("parts", *TAUGHT)
    maskers = ("random", "dirichlet", "whole_kind", "weight_map", *OWN)
    augmentations = Augmentation._fields
    objectives = (*Modality.objectives, "contrastive")
    blank = BLANK
    axes = ("entries of all parts",)
    legend = "The parts one below another, each as samples of its own kind are shown."
    unit = "each part's own"
    bank = (
        Mask("random-75", "random", 0.75),
        Mask("dirichlet-75", "dirichlet", 0.75),
        Mask("whole_kind-60", "whole_kind", 0.6),
    )

    def __init__(self, width: int, parts: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        names = [part["name"] for part in parts]
        if len(set(names)) < max(len(names), 2):
            raise ValueError(
                f"parts {', '.join(names) or 'none'}: a joint sample has two or more, each with its own name"
            )
        self.parts = [_part(width, part) for part in parts]
        self.modules_of_parts = nn.ModuleList(self.parts)  # so that torch knows them; a plain list says what they are
        self.names = tuple(names)
        sizes = [prod(part.shape) for part in self.parts]
        self.layout = Layout(names, sizes, [len(part.coords) for part in self.parts])
        self.shape, self.kinds, self.cells = (sum(sizes),), len(parts), len(self.layout.kind)
        self.values_per_cell = max(part.values_per_cell for part in self.parts)
        self.noun = " or ".join(part.noun for part in self.parts)
        self.suffixes = frozenset().union(*(part.suffixes for part in self.parts))
        axes = max(part.coords.shape[-1] for part in self.parts)
        coords = [F.pad(part.coords, (axes - part.coords.shape[-1], 0)) for part in self.parts]
        self.register_buffer("coords", torch.cat(coords), persistent=False)
        self.kind_embedding = nn.Parameter(torch.zeros(self.kinds, width))

    coords: Tensor

    @staticmethod
    def examples() -> dict[str, Example]:
        """Two parts, two of which samples lack one or the other, and three."""
        two = (("picture", "image", "grey"), ("words", "text", "padded"))
        three = (("sound", "audio", "any length"), ("row", "table", "mixed"), ("course", "series", "three with gaps"))
        return {"whole": _example(two, False), "parts missing": _example(two, True), "three": _example(three, True)}

    @staticmethod
    def facts(samples: np.ndarray, indices: np.ndarray, described: Mapping[str, Any]) -> Facts:
        """What each part's modality finds in the train samples that have the part."""
        parts, notes = [], []
        for part, column in zip(described["parts"], columns(samples, described["parts"])):
            there = np.intersect1d(indices, np.flatnonzero(column.there()))
            if not len(there):
                raise ValueError(f"no training sample has the part {part['name']!r}")
            found = _kind(part).facts(column, there, part)  # type: ignore[arg-type]
            parts.append({**part, **found.entries})
            notes += [f"{part['name']}: {note}" for note in found.notes]
            if len(there) < len(indices):
                notes.append(f"{len(indices) - len(there)} of {len(indices)} training samples lack {part['name']}")
        return Facts({"parts": parts}, notes)

    @staticmethod
    def default_patch(info: dict[str, Any]) -> dict[str, Any]:
        """Each part's own."""
        return {part["name"]: _kind(part).default_patch(part) for part in info["parts"]}

    @staticmethod
    def misfit(info: dict[str, Any], patch: Any) -> str:
        """The first part's reason."""
        if not isinstance(patch, Mapping):
            return "a joint sample has a patch for each part, by name"
        patches = {**JointModality.default_patch(info), **patch}
        reasons = ((part["name"], _kind(part).misfit(part, patches[part["name"]])) for part in info["parts"])
        return next((f"{name}: {reason}" for name, reason in reasons if reason), "")

    @staticmethod
    def configure(info: dict[str, Any], patch: Any) -> dict[str, Any]:
        """What each part's modality takes; ``patch`` by part, its default where not named."""
        names = [part["name"] for part in info["parts"]]
        if not isinstance(patch, Mapping) or set(patch) - set(names):
            raise ValueError(f"model.patch {patch}: give a patch for each part by name, of {', '.join(names)}, or auto")
        patches = {**JointModality.default_patch(info), **patch}
        parts = [
            {"name": part["name"], "kind": part["kind"], **_kind(part).configure(part, patches[part["name"]])}
            for part in info["parts"]
        ]
        return {"parts": parts}

    @staticmethod
    def geometry(config: dict[str, Any]) -> Geometry:
        """The sums: every kept cell is embedded and every hidden one predicted by all parts, of which its own counts."""
        found = [_kind(part).geometry(_options(part)) for part in config["parts"]]
        return Geometry(*(sum(values) for values in zip(*found)))

    @staticmethod
    def plain(samples: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """The plain features of all parts behind one another, each of unit length lest one drowns another; 0 for one that is not there."""
        found = []
        for part, column in zip(info["parts"], columns(samples, info["parts"])):
            plain = _kind(part).plain(column[:], part) * column.there()[:, None]
            length = np.linalg.norm(plain, axis=1, keepdims=True)
            found.append(np.divide(plain, length, out=np.zeros_like(plain), where=length > 0))
        return np.concatenate(found, 1)

    def read(self, data: bytes) -> np.ndarray:
        """A file of any one part, as samples that lack the others: the first part that can read it does."""
        reasons = []
        for name, part, entries in zip(self.names, self.parts, self.layout.entries):
            try:
                found = part.read(data)
            except ValueError as problem:
                reasons.append(f"as {name}: {problem}")
                continue
            raw = np.full((len(found), *self.shape), np.nan, np.float32)
            raw[:, entries] = found.reshape(len(found), -1)
            return raw
        raise ValueError("; ".join(reasons))

    def differs(self, info: dict[str, Any]) -> str:
        """Other parts, or a part that means something else."""
        theirs = [part["name"] for part in info["parts"]]
        if theirs != list(self.names):
            return f"its parts are {', '.join(theirs)} instead of {', '.join(self.names)}"
        for part, described in zip(self.parts, info["parts"]):
            if reason := part.differs(described):
                return f"{described['name']}: {reason}"
        return ""

    def words(self, raw: Tensor) -> list[str]:
        """The texts of those parts that have one, a line each."""
        found = [part.words(self.pull(self._shown(raw, i), i)) for i, part in enumerate(self.parts)]
        there = [self.there(raw, i).tolist() for i in range(self.kinds)]
        lines = [[words[row] for words, known in zip(found, there) if words and known[row]] for row in range(len(raw))]
        return ["\n".join(some) for some in lines] if any(found) else []

    def init_weights(self) -> None:
        """Each part's own; kinds are told apart from the start."""
        for part in self.parts:
            part.init_weights()
        nn.init.normal_(self.kind_embedding, std=FIRST_STD)

    def there(self, raw: Tensor, part: int) -> Tensor:
        """(B,) bool: which samples have the part."""
        return ~raw[:, self.layout.entries[part]].isnan().all(1)

    def pull(self, raw: Tensor, part: int) -> Tensor:
        """Raw samples of one part (B, …) in its own dtype; one that is not there is 0, or NaN where the dtype has one."""
        found, kind = raw[:, self.layout.entries[part]], self.parts[part]
        if not kind.dtype.is_floating_point:
            found = torch.where(found.isnan(), 0.0, found)
        return found.to(kind.dtype).view(-1, *kind.shape)

    def push(self, raw: Tensor, parts: Sequence[Tensor]) -> Tensor:
        """The inverse of ``pull`` for all parts (B, …): float32 (B, S), NaN where ``raw`` lacks a part."""
        flat = [found.reshape(len(raw), -1).float() for found in parts]
        there = [self.there(raw, i).unsqueeze(1) for i in range(self.kinds)]
        return torch.cat([torch.where(known, found, float("nan")) for known, found in zip(there, flat)], 1)

    def only(self, raw: Tensor, *names: str) -> Tensor:
        """``raw`` without all parts but ``names``. Raises ValueError for a part there is not."""
        if unknown := set(names) - set(self.names):
            raise ValueError(f"no part {', '.join(sorted(unknown))}: there are {', '.join(self.names)}")
        kept = torch.zeros_like(raw, dtype=torch.bool)
        for name in names:
            kept[:, self.layout.entries[self.names.index(name)]] = True
        return torch.where(kept, raw, float("nan"))

    def split(self, raw: Tensor) -> Cells:
        """(B, S) → the cells of all parts; those of a part that is not there are not valid."""
        if raw.dim() != 2 or raw.shape[1] != self.shape[0]:
            raise ValueError(f"joint samples of shape {tuple(raw.shape)} given, this model takes (B, {self.shape[0]})")
        if not raw.is_floating_point():
            raise TypeError(f"joint samples are float32 with NaN where a part is missing, these are {raw.dtype}")
        values, valid = [], []
        for i, part in enumerate(self.parts):
            cells = part.split(self.pull(raw, i))
            known = self.there(raw, i).unsqueeze(1).expand(-1, len(part.coords))
            values.append(cells)
            valid.append(known if cells.valid is None else known & cells.valid)
        return Cells(values, self.coords, self.layout.kind, torch.cat(valid, 1))

    def embed(self, cells: Cells, keep: Tensor | None = None, ok: Tensor | None = None) -> Tensor:
        """(B, N, D), or (B, V, D) of the kept cells alone, plus a vector of the kind.

        Every part embeds as many cells as are kept, its own ones that are among them, so shapes are the same for every plan.
        """
        if keep is None:
            masks = [None] * self.kinds if ok is None else [ok[:, own] for own in self.layout.cells]
            found = [part.embed(own, None, mask) for part, own, mask in zip(self.parts, cells.values, masks)]
            return torch.cat(found, 1) + self.kind_embedding[self.layout.kind]
        kind = self.layout.kind[keep]
        x = self.kind_embedding[kind]
        for i, (part, own) in enumerate(zip(self.parts, cells.values)):
            mine = self.layout.own(keep, ok, i)
            x = x + torch.where((kind == i).unsqueeze(-1), part.embed(own, mine.cell, mine.ok), 0.0)
        return x

    def alone(self, cells: Cells) -> dict[str, Plan]:
        """For each part the plan that keeps all of its cells and hides none."""
        valid = cells.valid if cells.valid is not None else torch.ones(1, self.cells, dtype=torch.bool)
        found = {}
        for name, own in zip(self.names, self.layout.cells):
            keep = torch.arange(own.start, own.stop, device=self.coords.device).expand(len(valid), -1)
            found[name] = Plan(keep, keep[:, :0], valid[:, own], valid[:, own][:, :0])
        return found

    def covers(self, raw: Tensor, index: Tensor, ok: Tensor | None = None) -> Tensor:
        """Bool (B, S): the known entries of the cells ``index`` (B, M)."""
        found = []
        for i, part in enumerate(self.parts):
            mine = self.layout.own(index, ok, i)
            found.append(part.covers(self.pull(raw, i), mine.cell, mine.ok).flatten(1))
        return torch.cat(found, 1) & ~raw.isnan()

    def paste(self, raw: Tensor, values: Tensor, plan: Plan) -> Tensor:
        """Samples whose hidden cells hold ``values`` (B, M, P), each part's in its first places."""
        found = []
        for i, part in enumerate(self.parts):
            at = self.layout.own(plan.hide, plan.hide_ok, i).at.unsqueeze(-1).expand(-1, -1, part.values_per_cell)
            own = values[..., : part.values_per_cell].gather(1, at)
            found.append(part.paste(self.pull(raw, i), own, self.layout.plan_of(plan, i)))
        return self.push(raw, found)

    def error(self, filled: Tensor, raw: Tensor) -> Tensor:
        """Each part's own."""
        found = [part.error(self.pull(filled, i), self.pull(raw, i)).flatten(1) for i, part in enumerate(self.parts)]
        return torch.cat(found, 1)

    def by_kind(self, entries: Tensor) -> list[Tensor]:
        """Those of each part, (B, its entries)."""
        return [entries[:, own] for own in self.layout.entries]

    def trivial(self, raw: Tensor, hidden: Tensor) -> Tensor:
        """Each part's constant."""
        return self.push(raw, [part.trivial(*self._with(raw, hidden, i)) for i, part in enumerate(self.parts)])

    def fills(self, raw: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """By name of the parts' own, and each part's constant once; NaN in the parts that have no fill of a name."""
        own = [part.fills(*self._with(raw, hidden, i)) for i, part in enumerate(self.parts)]
        constant = self.by_kind(self.trivial(raw, hidden))
        found = [one if CONSTANTS & set(one) else {**one, CONSTANT: other} for one, other in zip(own, constant)]
        return self._filled(raw, found)

    def fills_from(self, raw: Tensor, hidden: Tensor, train: np.ndarray) -> dict[str, Tensor]:
        """The same, of those training samples that have the part."""
        found = []
        for i, part in enumerate(self.parts):
            known = Known(Column(train, self.layout.entries[i], part.shape, str(part.dtype).removeprefix("torch.")))
            found.append(part.fills_from(*self._with(raw, hidden, i), known))  # type: ignore[arg-type]
        return self._filled(raw, found)

    def quality(self, filled: Tensor, raw: Tensor, hidden: Tensor) -> dict[str, np.ndarray]:
        """The measures of each part as ``<measure>/<part>``; NaN for samples in which nothing of it is hidden or ``filled`` lacks it."""
        found = {}
        for i, (name, part) in enumerate(zip(self.names, self.parts)):
            own, holes = self._with(raw, hidden, i)
            some = holes.flatten(1).any(1) & self.there(filled, i)
            given = self.pull(torch.where(some.unsqueeze(1), filled, raw), i)
            for measure, values in part.quality(given, own, holes).items():
                found[f"{measure}/{name}"] = np.where(some.cpu().numpy(), values, np.nan)
        return found

    def picture(self, raw: Tensor, masked: Tensor, filled: Tensor) -> np.ndarray:
        """The pictures of the parts below one another, of those samples that have them."""
        found = []
        for i, part in enumerate(self.parts):
            there = self.there(raw, i)
            if there.any():
                looks = (raw[there], self._shown(masked[there], i), filled[there])
                found.append(part.picture(*(self.pull(look, i) for look in looks)))
        return above(found)

    def augment(self, raw: Tensor, draws: Draws, how: Augmentation) -> Tensor:
        """Each part as far as it can be changed so."""
        if not how.asked:
            return raw
        found = [
            part.augment(self.pull(raw, i), draws, how.only(part.augmentations)) for i, part in enumerate(self.parts)
        ]
        return self.push(raw, found)

    def jitter(self, raw: Tensor, draws: Draws, most: int) -> Tensor:
        """Each part's own."""
        return self.push(raw, [part.jitter(self.pull(raw, i), draws, most) for i, part in enumerate(self.parts)])

    def render(self, raw: Tensor) -> Tensor:
        """The parts side by side, (B, H, W, 3); white where one is not there."""
        found = []
        for i, part in enumerate(self.parts):
            shown = part.render(self.pull(self._shown(raw, i), i))
            found.append(torch.where(self.there(raw, i).view(-1, 1, 1, 1), shown, 255).to(torch.uint8))
        return beside(found)

    def view(
        self, raw: Tensor, hidden: Tensor | None = None, truth: Tensor | None = None, belief: Belief | None = None
    ) -> list[list[Panel]]:
        """The panels of the parts that a sample has, one part after another."""
        panels: list[list[Panel]] = [[] for _ in raw]
        for i, (part, cells) in enumerate(zip(self.parts, self.layout.cells)):
            said = None if belief is None else Belief(*(one[:, cells] for one in belief))
            known = None if truth is None else self.pull(truth, i)
            own, holes = self._with(
                self._shown(raw, i), torch.zeros_like(raw, dtype=torch.bool) if hidden is None else hidden, i
            )
            views = part.view(own, None if hidden is None else holes, known, said)
            for some, found, there in zip(panels, views, self.there(raw, i).tolist()):
                some += found if there else []
        return panels

    def _with(self, raw: Tensor, hidden: Tensor, part: int) -> tuple[Tensor, Tensor]:
        """One part's raw samples, and what of them is hidden."""
        return self.pull(raw, part), hidden[:, self.layout.entries[part]].view(-1, *self.parts[part].shape)

    def _shown(self, raw: Tensor, part: int) -> Tensor:
        """``raw`` in which hidden entries show the part's own blank."""
        return torch.where(raw == BLANK, self.parts[part].blank, raw)

    def _filled(self, raw: Tensor, found: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        lacking = [torch.full_like(part, float("nan")) for part in self.by_kind(raw)]
        names = dict.fromkeys(name for one in found for name in one)
        return {name: self.push(raw, [one.get(name, none) for one, none in zip(found, lacking)]) for name in names}


def _kind(part: Mapping[str, Any]) -> type[Modality]:
    kind = resolve(MODALITIES, part["kind"], "modality")
    if kind is JointModality:
        raise ValueError(f"part {part['name']!r} is itself joint: list its parts instead")
    return kind


def _options(part: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key not in ("name", "kind")}


def _part(width: int, part: Mapping[str, Any]) -> Modality:
    try:
        return _kind(part)(width=width, **_options(part))
    except ValueError as problem:
        raise ValueError(f"part {part['name']}: {problem}") from None


def _example(parts: Sequence[tuple[str, str, str]], lacking: bool) -> Example:
    """Of other modalities' examples: (name of the part, modality, its example)."""
    found = [(name, kind, resolve(MODALITIES, kind, "modality").examples()[which]) for name, kind, which in parts]
    config = {"parts": [{"name": name, "kind": kind, **one.config} for name, kind, one in found]}
    return Example(config, partial(_samples, [one for _, _, one in found], lacking))


def _samples(parts: Sequence[Example], lacking: bool, n: int, generator: torch.Generator) -> Tensor:
    """(n, S); with ``lacking`` all but the first sample lack one part, in turn."""
    raw = [part.raw(n, generator).reshape(n, -1).float() for part in parts]
    for row in range(1, n if lacking else 0):
        raw[(row - 1) % len(raw)][row] = float("nan")
    return torch.cat(raw, 1)
