"""What a modality is: how raw samples become cells, and how predicted cells become a sample again.

A raw batch is one tensor of a fixed shape; what is not there (a gap, a missing value, padding) is marked inside it, so that every part of
the platform that only carries samples (files, batches, workers) is the same for all modalities. A new modality is one file with a
subclass and one row in ``MODALITIES``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mae_core.cells import Belief, Cells, Plan, pool_mean
from mae_core.data.augment import Augmentation
from mae_core.draws import Draws
from mae_core.modalities.panels import Panel, Picture, Piece, Text
from mae_core.raster import Raster

OWN = ("policy", "bandit", "attention", "loss_ranked")
"""Maskers that learn beside a model or are led by it, so that each model's masks are its own. They look at no values, so they fit all."""
TAUGHT = ("latent", "features")
"""Targets that a teacher gives, likewise."""

ROUNDING = 1e-6
"""Of the largest value: float32 keeps seven digits."""
SMALLEST = 1e-30
"""Values below it are none."""


class Geometry(NamedTuple):
    """What a sample costs: counts that are known before anything is built."""

    cells: int
    """N, padding included."""
    inputs: int
    """Values embedded for each cell."""
    outputs: int
    """Values predicted for each hidden cell."""


class Facts(NamedTuple):
    """What a dataset's train split says of a modality."""

    entries: dict[str, Any]
    """Join ``dataset.json``; ``configure`` reads them."""
    notes: list[str]
    """What a reader of the dataset should know."""


class Example(NamedTuple):
    """A small synthetic case: what contract tests run and what a reader sees."""

    config: dict[str, Any]
    """As ``configure`` gives."""
    raw: Callable[[int, torch.Generator], Tensor]
    """n raw samples; where samples may lack entries, some of these do."""


class Mask(NamedTuple):
    """One mask of a bank."""

    name: str
    strategy: str
    ratio: float
    seed: int = 0


class Modality(nn.Module):
    """Raw (B, …) ↔ cells. The class methods work without an instance: they serve ``prepare``, recipes and costs."""

    default_ratio: ClassVar[float] = 0.75
    default_target: ClassVar[str]
    targets: ClassVar[tuple[str, ...]]
    """Rows of ``TARGETS`` that make sense here."""
    maskers: ClassVar[tuple[str, ...]]
    """Rows of ``MASKERS`` that make sense here."""
    encoders: ClassVar[tuple[str, ...]] = ("vit",)
    """Rows of ``ENCODERS`` that make sense here; those that read a ``raster`` only where cells tile a map."""
    details: ClassVar[tuple[str, ...]] = ()
    """What ``detail`` can measure."""
    augmentations: ClassVar[tuple[str, ...]] = ()
    """Fields of ``Augmentation`` that make sense here."""
    objectives: ClassVar[tuple[str, ...]] = (
        "reconstruction", "mask_contrastive", "invariance", "variance", "covariance", "uniformity", "loss_ranking",
    )  # fmt: skip
    """Rows of ``OBJECTIVES`` that make sense here."""
    baselines: ClassVar[tuple[str, ...]] = ("pca",)
    """What is fitted on plain features beside the linear probe, with as many settings tried on validation."""
    dtype: ClassVar[torch.dtype] = torch.float32
    """Of a raw sample."""
    blank: ClassVar[float]
    """What a hidden entry of a raw sample shows."""
    noun: str
    """What people call what a file holds: picture, text."""
    suffixes: frozenset[str]
    """Of the files that ``read`` takes, in lower case."""
    axes: ClassVar[tuple[str, ...]] = ()
    """What people call the axes of a raw sample."""
    legend: ClassVar[str] = ""
    """What ``picture`` shows, in a sentence."""
    unit: ClassVar[str]
    """Of ``error``."""
    bank: ClassVar[tuple[Mask, ...]]
    """Masks that every model has to fill, whatever it was trained with, so that figures of runs compare. Patch sizes still differ."""
    kinds: int = 1
    """How many kinds of cells there are; those of more than one say theirs in ``Cells.kind``."""
    coords: Tensor
    """(N, K) buffer: the place of each cell."""
    values_per_cell: int
    """P, of decoded values."""
    raster: Raster
    """Of modalities whose cells tile a map; ``width`` may then be None, and no embedding is made."""
    shape: tuple[int, ...]
    """Of one raw sample."""

    @staticmethod
    def examples() -> dict[str, Example]:
        """Small cases by name: the plain one, and whatever is awkward."""
        raise NotImplementedError

    @staticmethod
    def facts(samples: np.ndarray, indices: np.ndarray, described: Mapping[str, Any]) -> Facts:
        """What ``dataset.json`` has to know of the train split: ``samples[indices]``, read block by block.

        ``described`` is what the source knows of all samples alike.
        """
        raise NotImplementedError

    @staticmethod
    def default_patch(info: dict[str, Any]) -> Any:
        """The patch of a recipe that leaves it ``auto``. Raises ValueError where none fits."""
        raise NotImplementedError

    @staticmethod
    def misfit(info: dict[str, Any], patch: Any) -> str:
        """Why a patch is no sensible choice for a search on this dataset, '' where it is."""
        return ""

    @staticmethod
    def configure(info: dict[str, Any], patch: Any) -> dict[str, Any]:
        """The modality's part of a model's config, from ``dataset.json``: what the constructor takes beside ``width``."""
        raise NotImplementedError

    @staticmethod
    def geometry(config: dict[str, Any]) -> Geometry:
        """Counts of what ``configure`` gave."""
        raise NotImplementedError

    @staticmethod
    def raster_of(config: dict[str, Any]) -> Raster | None:
        """How cells tile a map, of what ``configure`` gave; None where they do not."""
        return None

    @staticmethod
    def plain(samples: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """(n, D) float32: the features of no model at all, which every score stands beside; ``info`` is the ``dataset.json``."""
        raise NotImplementedError

    def fitted(self, samples: np.ndarray) -> Any:
        """(n, …) samples of any dataset of this modality, to be read in blocks in the shape of this model.

        Raises ValueError where nothing sensible leads there.
        """
        if samples.shape[1:] != self.shape:
            raise ValueError(f"samples have the shape {samples.shape[1:]}, the model takes {self.shape}")
        return samples

    def read(self, data: bytes) -> np.ndarray:
        """What one file holds, as (n, …) raw samples that this model takes. Raises ValueError saying what is wrong with it."""
        raise NotImplementedError

    def differs(self, info: dict[str, Any]) -> str:
        """Why numbers of a dataset (its ``dataset.json``) mean something else to this model, '' where they do not."""
        return ""

    def words(self, raw: Tensor) -> list[str]:
        """A text for each raw sample, where that says more than a picture; none by default."""
        return []

    def lacking(self, raw: Tensor) -> Tensor:
        """(B, N) bool: cells of which something was never observed and can be predicted; what lies behind an end is no such thing."""
        return torch.zeros(len(raw), self.split(raw).coords.shape[-2], dtype=torch.bool, device=raw.device)

    def written(self, raw: Tensor) -> str:
        """Raw samples as a text that ``read`` takes; '' where files of this kind are no text."""
        return ""

    def mended(self, data: bytes, filled: np.ndarray) -> bytes:
        """The file that was ``read`` as it is, but for what is missing in it, which comes from ``filled`` (n, …).

        Called where cells are ``lacking``.
        """
        raise NotImplementedError

    def init_weights(self) -> None:
        """Initialises its own parameters."""
        raise NotImplementedError

    def split(self, raw: Tensor) -> Cells:
        """Raw samples → cells."""
        raise NotImplementedError

    def embed(self, cells: Cells, keep: Tensor | None = None, ok: Tensor | None = None) -> Tensor:
        """(B, N, D), or (B, V, D) of the kept cells alone; nothing of a cell that is not kept (or not ``ok``) may enter."""
        raise NotImplementedError

    def detail(self, cells: Cells, name: str) -> Tensor:
        """(B, N) float, not negative: what each cell shows of one of ``details``; for maskers alone, it reads every cell."""
        offered = ", ".join(self.details) or "nothing"
        raise ValueError(f"{type(self).__name__} does not measure {name!r} of cells: it offers {offered}")

    def features(self, tokens: Tensor, cells: Cells) -> Tensor:
        """(B, N, D), every cell of whole samples encoded → (B, F), what heads read: the mean over valid cells by default."""
        return pool_mean(tokens, cells.valid)

    def feature_width(self, width: int) -> int:
        """F of ``features`` for a D of ``width``."""
        return width

    def alone(self, cells: Cells) -> dict[str, Plan]:
        """For each part of a joint sample, by name, the plan that keeps all of it and nothing else; none by default."""
        return {}

    def covers(self, raw: Tensor, index: Tensor, ok: Tensor | None) -> Tensor:
        """Bool like ``raw``: the entries of the cells ``index`` (B, M) that are known and ``ok``."""
        raise NotImplementedError

    def paste(self, raw: Tensor, values: Tensor, plan: Plan) -> Tensor:
        """``raw`` with the hidden cells replaced by decoded ``values`` (B, M, P)."""
        raise NotImplementedError

    def error(self, filled: Tensor, raw: Tensor) -> Tensor:
        """Float like ``raw``: the error of each entry, squared for numbers, in units that runs of one dataset share."""
        raise NotImplementedError

    def by_kind(self, entries: Tensor) -> list[Tensor]:
        """What is like ``raw`` → the entries of each of ``kinds``, whose ``error`` has a unit of its own; all of them by default."""
        return [entries]

    def trivial(self, raw: Tensor, hidden: Tensor) -> Tensor:
        """``raw`` with hidden entries replaced by the best constant that train knows: what any model must beat."""
        raise NotImplementedError

    def fills(self, raw: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """By name: ``raw`` with hidden entries filled by methods that need no training; what stands beside a model's reconstruction."""
        raise NotImplementedError

    def fills_from(self, raw: Tensor, hidden: Tensor, train: np.ndarray) -> dict[str, Tensor]:
        """The same by methods that learn from the train split's raw samples, of which they take rows; none by default."""
        return {}

    def or_trivial(self, fills: Mapping[str, Tensor], raw: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """``fills`` as they are of samples of which anything is visible; of all others nothing is known but the constant of train."""
        seen = (~hidden & ~raw.isnan()).flatten(1).any(1).view(-1, *[1] * (raw.dim() - 1))
        constant = self.trivial(raw, hidden)
        return {name: torch.where(seen, filled, constant) for name, filled in fills.items()}

    def quality(self, filled: Tensor, raw: Tensor, hidden: Tensor) -> dict[str, np.ndarray]:
        """Measures (n,) of how near ``filled`` is to ``raw`` where ``hidden``, the one to show first.

        NaN says nothing of a sample, and is left out of means.
        """
        raise NotImplementedError

    def picture(self, raw: Tensor, masked: Tensor, filled: Tensor) -> np.ndarray:
        """RGB uint8 (height, width, 3): a row for each sample: original, masked, reconstruction and where they differ."""
        raise NotImplementedError

    @classmethod
    def cannot_change(cls, how: Augmentation) -> str:
        """Why samples cannot be changed so; "" where they can."""
        wrong = [name for name in how.asked if name not in cls.augmentations]
        if not wrong:
            return ""
        able = ", ".join(f"pretrain.{name}" for name in cls.augmentations) or "nothing"
        back = ", ".join(f"{name}: {str(getattr(Augmentation(), name)).lower()}" for name in wrong)
        named = ", ".join(f"pretrain.{name}" for name in wrong)
        return f"{named}: a {cls.noun} cannot be changed so, only by: {able}; take {back}"

    def augment(self, raw: Tensor, draws: Draws, how: Augmentation) -> Tensor:
        """A training batch, changed at random; as it is by default."""
        return raw

    def jitter(self, raw: Tensor, draws: Draws, most: int) -> Tensor:
        """A batch for fine-tuning, moved by up to ``most`` places where moving keeps the label; itself by default."""
        return raw

    def render(self, raw: Tensor) -> Tensor:
        """Raw samples → pictures, uint8 RGB (B, H, W, 3); blank entries are seen as such."""
        raise NotImplementedError

    def view(
        self, raw: Tensor, hidden: Tensor | None = None, truth: Tensor | None = None, belief: Belief | None = None
    ) -> list[list[Panel]]:
        """How people look at each raw sample; a picture by default, and its words where it has some.

        Args:
            raw: whole samples, masked ones whose hidden entries are ``blank``, or filled ones.
            hidden: bool like ``raw``: which entries were hidden, or missing.
            truth: like ``raw``: what ``raw`` was filled in for, where that is known.
            belief: of every cell, what the model said of its fills.
        """
        pictures, said = self.render(raw).cpu().numpy(), self.words(raw)
        return [[Picture(one), *(Text([Piece(text)]) for text in said[i : i + 1])] for i, one in enumerate(pictures)]


def flat(std: Any, largest: Any) -> Any:
    """Whether a spread is no more than what rounding leaves of a constant, whatever the unit.

    Args:
        std: standard deviation, a number or an array.
        largest: the largest absolute value of what it was taken of.
    """
    return std <= ROUNDING * np.maximum(largest, SMALLEST)


def mean_error(error: Tensor, where: Tensor) -> Tensor:
    """(B,): the mean of ``error`` over the entries of ``where``; 0 for a sample without any."""
    weight = where.flatten(1)
    return torch.where(weight, error.flatten(1), 0.0).sum(1) / weight.sum(1).clamp_min(1)


def change(values: Tensor, axis: int) -> Tensor:
    """Like ``values``: how far each lies from the one before along ``axis``, the first from the one after; 0 where there is but one."""
    if values.shape[axis] == 1:
        return torch.zeros_like(values)
    apart = values.diff(dim=axis).abs()
    return torch.cat([apart.narrow(axis, 0, 1), apart], axis)
