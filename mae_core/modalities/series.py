"""Time series of any number of channels on one regular clock; gaps and the padding of shorter ones are NaN.

Each sample is normalised by the mean and standard deviation of what is *visible* in each channel (reversible instance normalisation, Kim
et al. 2022, RevIN, restricted to kept cells), so nothing hidden leaks and a forecast continues at the level it was shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mae_core.cells import Belief, Cells, Plan, gather_cells, pool_stretches
from mae_core.data.augment import Augmentation, excerpt
from mae_core.draws import Draws
from mae_core.modalities.base import OWN, TAUGHT, Example, Facts, Geometry, Mask, Modality, flat
from mae_core.modalities.panels import Curves, Panel

STD_FLOOR = 0.05
"""Over the train split's standard deviation of the channel: a visible stretch that is flat is not blown up."""
MOST_CELLS = 24
"""Of a channel, that the default patch leaves at most."""
STRETCHES = 4
"""Of time, that features tell apart: where in a series something happens matters as much as that it happens."""
BLOCK = 1024


class Level(NamedTuple):
    """What a sample is normalised by."""

    mean: Tensor
    """(B, N, 1): of each cell's channel."""
    std: Tensor
    """(B, N, 1)."""


class SeriesModality(Modality):
    """Raw float32 (B, C, T), NaN = not there ↔ C · T / p cells of p moments, channels first.

    ``Cells.values`` is (B, N, 2p): the moments, 0 where they are not there, then whether they are. A cell is valid where at least one
    of its moments is there.

    Args:
        width: D of the embedding.
        channels: C.
        length: T, a multiple of ``patch``; shorter samples are padded with NaN.
        patch: moments of a cell.
        mean, std: of each channel on the train split.
    """

    default_ratio = 0.5
    default_target = "series"
    targets = ("series", "raw_series", *TAUGHT)
    augmentations = ("crop",)
    maskers = (
        "random", "span", "tail", "line", "stripe", "coarse", "variance", "motion", "weight_map", *OWN,
    )  # fmt: skip
    details = ("variance", "motion")
    blank = math.nan
    noun = "series"
    suffixes = frozenset({".csv", ".tsv", ".txt"})
    axes = ("channels", "moments")
    legend = "The truth grey, what was visible dark, what was filled in orange over shaded gaps."
    unit = "of the channel's variance"
    bank = (
        Mask("random-50", "random", 0.5),
        Mask("random-75", "random", 0.75),
        Mask("span-50", "span", 0.5),
        Mask("tail-25", "tail", 0.25),
    )

    def __init__(self, width: int, channels: int, length: int, patch: int, mean: list[float], std: list[float]) -> None:
        super().__init__()
        if length % patch:
            raise ValueError(f"patch {patch} does not divide the length {length}: choose a divisor")
        if channels * length == patch:
            raise ValueError(f"patch {patch} covers the whole series: at least two cells are needed")
        self.channels, self.length, self.patch = channels, length, patch
        self.shape = (channels, length)
        self.cells, self.values_per_cell = channels * (length // patch), patch
        for name, row in (("mean", mean), ("std", std)):
            if len(row) != channels:
                raise ValueError(f"{name} has {len(row)} entries for {channels} channels")
            self.register_buffer(name, torch.tensor(row).view(channels, 1), persistent=False)
        lines, places = torch.meshgrid(torch.arange(channels), torch.arange(length // patch), indexing="ij")
        self.register_buffer("coords", torch.stack([lines, places], -1).view(-1, 2).float(), persistent=False)
        self.project = nn.Linear(2 * patch, width)

    mean: Tensor
    std: Tensor
    coords: Tensor

    @staticmethod
    def examples() -> dict[str, Example]:
        """One channel; three, on different scales, with gaps and short ones; cells of one moment."""
        plain = {"channels": 1, "length": 24, "patch": 4, "mean": [0.0], "std": [1.0]}
        three = {"channels": 3, "length": 12, "patch": 3, "mean": [0.0, 5.0, -20.0], "std": [1.0, 3.0, 0.1]}
        fine = {"channels": 2, "length": 7, "patch": 1, "mean": [0.0, 0.0], "std": [1.0, 1.0]}
        return {
            "one channel": Example(plain, partial(_waves, plain, gaps=False)),
            "three with gaps": Example(three, partial(_waves, three, gaps=True)),
            "moments": Example(fine, partial(_waves, fine, gaps=False)),
        }

    @staticmethod
    def facts(samples: np.ndarray, indices: np.ndarray, described: Mapping[str, Any]) -> Facts:
        """Mean and standard deviation of each channel over what is there."""
        channels = samples.shape[1]
        count, total, square, largest = (np.zeros(channels) for _ in range(4))
        for start in range(0, len(indices), BLOCK):
            block = samples[indices[start : start + BLOCK]].astype(np.float64)
            count += np.isfinite(block).sum((0, 2))
            total += np.nansum(block, (0, 2))
            largest = np.maximum(largest, np.nan_to_num(np.abs(block)).max((0, 2)))
        mean = total / np.maximum(count, 1)
        for start in range(0, len(indices), BLOCK):
            block = samples[indices[start : start + BLOCK]].astype(np.float64)
            square += np.nansum((block - mean[:, None]) ** 2, (0, 2))
        std = np.sqrt(square / np.maximum(count, 1))
        constant = flat(std, largest)
        notes = [f"channel {i} is constant in train" for i in np.flatnonzero(constant)]
        missing = 1 - count.sum() / max(len(indices) * channels * samples.shape[2], 1)
        if missing > 0:
            notes.append(
                f"{missing:.1%} of the moments of train are not there (gaps, or the padding of shorter series)"
            )
        entries = {
            "mean": [float(m) for m in mean],
            "std": [float(s) for s in np.where(constant, 1.0, std)],
        }
        return Facts(entries, notes)

    @staticmethod
    def default_patch(info: dict[str, Any]) -> int:
        """The smallest patch that leaves at most 24 cells a channel and at least 2."""
        length = info["sample"]["shape"][1]
        fits = [p for p in range(1, length // 2 + 1) if length / p <= MOST_CELLS]
        if not fits:
            raise ValueError(f"series of {length} moments are too short: at least 2 are needed")
        dividing = [p for p in fits if length % p == 0]
        return (dividing or fits)[0]

    @staticmethod
    def misfit(info: dict[str, Any], patch: int) -> str:
        """A patch has to leave two cells a channel."""
        length = info["sample"]["shape"][1]
        return f"it leaves fewer than 2 cells of series of {length}" if 2 * patch > length else ""

    @staticmethod
    def configure(info: dict[str, Any], patch: int) -> dict[str, Any]:
        """Channels, length rounded up to whole patches, and the train split's statistics."""
        channels, length = info["sample"]["shape"]
        whole = -(-length // patch) * patch
        return {"channels": channels, "length": whole, "patch": patch, "mean": info["mean"], "std": info["std"]}

    @staticmethod
    def geometry(config: dict[str, Any]) -> Geometry:
        """Of C · T / p cells."""
        return Geometry(
            config["channels"] * (config["length"] // config["patch"]), 2 * config["patch"], config["patch"]
        )

    @staticmethod
    def plain(samples: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """(n, C · T): each channel of a sample standardised by itself, as 1-nearest-neighbour benchmarks do.

        0 where nothing is there, and in channels that are flat.
        """
        x = np.asarray(samples, np.float32)
        there = np.isfinite(x)
        count = np.maximum(there.sum(2, keepdims=True), 1)
        mean = np.where(there, x, 0).sum(2, keepdims=True) / count
        centred = np.where(there, x - mean, 0)
        std = np.sqrt((centred**2).sum(2, keepdims=True) / count)
        moves = ~flat(std, np.where(there, np.abs(x), 0).max(2, keepdims=True))
        scaled = np.divide(centred, std, out=np.zeros_like(centred), where=moves)
        return scaled.reshape(len(x), -1).astype(np.float32)

    def fitted(self, samples: np.ndarray) -> np.ndarray:
        """Samples of as many channels, as long as the model's or shorter: what they lack counts as padding."""
        if samples.ndim != 3 or samples.shape[1] != self.channels or samples.shape[2] > self.length:
            raise ValueError(
                f"samples have the shape {samples.shape[1:]}, the model takes {self.channels, self.length} or shorter ones"
            )
        return samples

    def read(self, data: bytes) -> np.ndarray:
        """Delimited numbers: a line for each sample of one channel, or a line for each moment of several, cut into windows."""
        from mae_core.modalities.series_file import read_series

        return read_series(data, self.channels, self.length)

    def lacking(self, raw: Tensor) -> Tensor:
        """Cells of which a moment is missing. A shorter series is filled up to the model's length: what comes next is a gap as well."""
        return self._cut(raw).isnan().any(-1)

    def written(self, raw: Tensor) -> str:
        """As ``read`` takes it."""
        from mae_core.modalities.series_file import write_series

        return write_series(raw.cpu().numpy(), self.std.flatten().tolist())

    def mended(self, data: bytes, filled: np.ndarray) -> bytes:
        """Fields that are empty get a number of six digits or, where the channel spreads little, more; nothing is added behind a line."""
        from mae_core.modalities.series_file import mend_series

        return mend_series(data, filled, self.std.flatten().tolist())

    def init_weights(self) -> None:
        """Xavier-uniform, zero bias."""
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def split(self, raw: Tensor) -> Cells:
        """(B, C, T) → cells; T may be shorter than the model's, the rest counts as padding."""
        if raw.dim() != 3 or raw.shape[1] != self.channels or raw.shape[2] > self.length:
            expected = f"(B, {self.channels}, up to {self.length})"
            raise ValueError(f"series of shape {tuple(raw.shape)} given, this model takes {expected}")
        moments = self._cut(raw)
        there = ~moments.isnan()
        values = torch.cat([torch.where(there, moments, 0.0), there.to(moments.dtype)], -1)
        return Cells(values, self.coords, valid=there.any(-1))

    def _cut(self, raw: Tensor) -> Tensor:
        """(B, C, T) → (B, N, p)."""
        padded = nn.functional.pad(raw, (0, self.length - raw.shape[2]), value=math.nan)
        return padded.reshape(len(raw), self.cells, self.patch)

    def _joined(self, moments: Tensor, like: Tensor) -> Tensor:
        """(B, N, p) → (B, C, T) of ``like``."""
        return moments.reshape(len(like), self.channels, self.length)[..., : like.shape[2]]

    def level(self, cells: Cells, keep: Tensor | None = None, ok: Tensor | None = None) -> Level:
        """Mean and standard deviation of what the kept cells show of each channel; train's where they show nothing of it."""
        x, there = cells.values.float().chunk(2, -1)
        if keep is not None:
            shown = torch.zeros(x.shape[:2], device=x.device)
            shown.scatter_(1, keep, torch.ones_like(keep, dtype=shown.dtype) if ok is None else ok.to(shown.dtype))
            there = there * shown.unsqueeze(-1)
        lines = (len(x), self.channels, -1)
        x, there = x.reshape(lines), there.reshape(lines)
        count = there.sum(-1, keepdim=True)
        mean = (x * there).sum(-1, keepdim=True) / count.clamp_min(1)
        mean = torch.where(count > 0, mean, self.mean)
        variance = ((x - mean).square() * there).sum(-1, keepdim=True) / count.clamp_min(1)
        std = torch.where(count > 1, variance.sqrt(), self.std).clamp_min(STD_FLOOR * self.std)
        per_line = self.cells // self.channels
        return Level(mean.repeat_interleave(per_line, 1), std.repeat_interleave(per_line, 1))

    def std_of_cells(self) -> Tensor:
        """(N, 1): the train split's standard deviation of each cell's channel."""
        return self.std.repeat_interleave(self.cells // self.channels, 0)

    def embed(self, cells: Cells, keep: Tensor | None = None, ok: Tensor | None = None) -> Tensor:
        """(B, N, D), or (B, V, D) of the kept cells alone, at the level that these show."""
        level = self.level(cells, keep, ok)
        x, there = cells.values.chunk(2, -1)
        x = torch.cat([(x - level.mean) / level.std * there, there], -1)
        return self.project(x if keep is None else gather_cells(x, keep))

    def detail(self, cells: Cells, name: str) -> Tensor:
        """``variance`` of the moments that are there, or ``motion``: the change of their mean since the cell before, in units of train.

        Cells of which nothing is there count for neither: they show 0, and what follows them is compared with what went before.
        """
        x, there = cells.values.float().chunk(2, -1)
        count = there.sum(-1).clamp_min(1)
        mean = x.sum(-1) / count
        std = self.std_of_cells().squeeze(-1)
        if name == "variance":
            return ((x - mean.unsqueeze(-1)) * there).square().sum(-1) / count / std.square()
        if name == "motion":
            known = mean.where(there.any(-1), math.nan)
            return _motion(known.unflatten(1, (self.channels, -1))).flatten(1) / std
        return super().detail(cells, name)

    def features(self, tokens: Tensor, cells: Cells) -> Tensor:
        """(B, 4D): the means over the quarters of time."""
        return pool_stretches(tokens, cells.valid, self.coords[:, 1], STRETCHES)

    def feature_width(self, width: int) -> int:
        """A width for each quarter."""
        return STRETCHES * width

    def augment(self, raw: Tensor, draws: Draws, how: Augmentation) -> Tensor:
        """Excerpts of so much of the time or more, stretched back: slower and shifted (window slicing, Le Guennec et al. 2016, §3)."""
        return raw if how.crop >= 1 else excerpt(raw, draws, how.crop, axes=(2,))

    def covers(self, raw: Tensor, index: Tensor, ok: Tensor | None = None) -> Tensor:
        """Bool (B, C, T): the moments of the cells ``index`` (B, M) that are there."""
        flags = torch.zeros(len(raw), self.cells, dtype=torch.bool, device=raw.device)
        flags.scatter_(1, index, True) if ok is None else flags.scatter_(1, index, ok)
        return self._joined(flags.unsqueeze(-1).expand(-1, -1, self.patch), raw) & ~raw.isnan()

    def paste(self, raw: Tensor, values: Tensor, plan: Plan) -> Tensor:
        """Series whose hidden moments hold ``values`` (B, M, p), in raw units; what is not there stays so."""
        index = plan.hide.unsqueeze(-1).expand_as(values)
        filled = self._cut(raw).scatter(1, index, values.to(raw.dtype))
        return torch.where(self.covers(raw, plan.hide, plan.hide_ok), self._joined(filled, raw), raw)

    def error(self, filled: Tensor, raw: Tensor) -> Tensor:
        """Squared, over the variance of the channel in train; 0 where nothing is there."""
        return torch.where(raw.isnan(), 0.0, ((filled - raw) / self.std).square())

    def trivial(self, raw: Tensor, hidden: Tensor) -> Tensor:
        """Hidden moments become the channel's mean in train."""
        return torch.where(hidden, self.mean.expand_as(raw), raw)

    def fills(self, raw: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """The visible mean of the channel, a straight line between visible neighbours, and the last visible moment."""
        seen = torch.where(hidden, math.nan, raw)
        mean = seen.nanmean(2, keepdim=True)
        mean = torch.where(mean.isnan(), self.mean, mean)
        before, after = _carried(seen), _carried(seen.flip(2)).flip(2)
        time = torch.arange(raw.shape[2], device=raw.device, dtype=raw.dtype).expand_as(raw)
        places = torch.where(seen.isnan(), math.nan, time)
        left, right = _carried(places), _carried(places.flip(2)).flip(2)
        share = ((time - left) / (right - left).clamp_min(1)).clamp(0, 1)
        line = torch.where(after.isnan(), before, torch.where(before.isnan(), after, before + share * (after - before)))
        filled = {"mean_fill": mean.expand_as(raw), "linear_fill": line, "last_fill": before}
        return {name: torch.where(hidden, torch.where(one.isnan(), mean, one), raw) for name, one in filled.items()}

    def quality(self, filled: Tensor, raw: Tensor, hidden: Tensor) -> dict[str, np.ndarray]:
        """Root mean square error of hidden moments, in standard deviations of the channel in train; lower is better.

        NaN for a sample of which nothing is hidden.
        """
        error = torch.where(hidden, self.error(filled, raw), 0.0).flatten(1).sum(1)
        return {"rmse_hidden": (error / hidden.flatten(1).sum(1)).sqrt().cpu().numpy().astype(float)}

    def render(self, raw: Tensor) -> Tensor:
        """One plot a sample, channels one below another; what is not there is shaded."""
        from mae_core.evaluation.series_plot import plot

        return torch.from_numpy(np.stack([plot([sample], None) for sample in raw.cpu().numpy()]))

    def picture(self, raw: Tensor, masked: Tensor, filled: Tensor) -> np.ndarray:
        """The true series grey, what was visible dark, what was filled in orange over shaded gaps; one plot below another."""
        from mae_core.evaluation.series_plot import plot

        return np.concatenate(
            [plot([r, f, m], m) for r, m, f in zip(*(x.cpu().numpy() for x in (raw, masked, filled)))], 0
        )

    def view(
        self, raw: Tensor, hidden: Tensor | None = None, truth: Tensor | None = None, belief: Belief | None = None
    ) -> list[list[Panel]]:
        """Curves of what was visible, what was filled in and what should be there."""
        nowhere = torch.full_like(raw, math.nan)
        seen, filled = (raw, nowhere) if hidden is None else (raw.where(~hidden, nowhere), raw.where(hidden, nowhere))
        true = nowhere if hidden is None or truth is None else truth.where(hidden, nowhere)
        return [[Curves(*curves)] for curves in zip(*(x.cpu().float().numpy() for x in (seen, filled, true)))]


def _carried(x: Tensor) -> Tensor:
    """(B, C, T) with each NaN replaced by the last value before it; NaN where there is none."""
    place = torch.arange(x.shape[2], device=x.device).expand_as(x)
    last = torch.where(x.isnan(), -1, place).cummax(2).values
    return torch.where(last < 0, math.nan, x.gather(2, last.clamp_min(0)))


def _motion(x: Tensor) -> Tensor:
    """(B, C, T) → (B, C, T): how far each value lies from the last known one before it, the first known from the next; 0 for a NaN."""
    nowhere = torch.full_like(x[..., :1], math.nan)
    before = torch.cat([nowhere, _carried(x)[..., :-1]], -1)
    after = torch.cat([_carried(x.flip(2)).flip(2)[..., 1:], nowhere], -1)
    return (x - torch.where(before.isnan(), after, before)).abs().nan_to_num(0.0)


def _waves(config: dict[str, Any], n: int, generator: torch.Generator, gaps: bool) -> Tensor:
    """(n, C, T) of noise at each channel's level; with ``gaps`` moments, a whole cell and the end of every other sample are missing."""
    mean, std = (torch.tensor(config[name]).view(-1, 1) for name in ("mean", "std"))
    x = mean + std * torch.randn(n, config["channels"], config["length"], generator=generator)
    if gaps:
        x[:, 0, 1] = math.nan
        x[:, 1, : config["patch"]] = math.nan
        x[::2, :, -config["patch"] - 1 :] = math.nan
    return x
