"""Sound, as log-mel spectrograms of any number of bands and frames that whole patches cover."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mae_core.cells import Belief, Cells, Plan, gather_cells
from mae_core.data.augment import Augmentation, excerpt, shift
from mae_core.data.sounds import SUFFIXES
from mae_core.draws import Draws
from mae_core.modalities.audio_file import Look, hear
from mae_core.modalities.audio_signal import FLOOR, Spectrum, griffin_lim
from mae_core.modalities.base import OWN, TAUGHT, Example, Facts, Geometry, Mask, Modality, change
from mae_core.modalities.panels import Panel, Picture, Sound
from mae_core.raster import Raster

STD_FLOOR = 1.0
"""dB: a band that never changes is not divided by nearly zero."""
MOST_FRAMES, MOST_BANDS = 4, 8
"""Of the default patch."""
LEAST_CELLS = (4, 2)
"""Along time and frequency, for a search: with fewer there is nothing to predict one from another."""
BLOCK = 1024


class AudioModality(Modality):
    """Raw float32 spectrograms (B, T, F) in dB, NaN behind the end ↔ cells of P = pt · pf values in (frame, band) order, time first.

    A cell is valid if a frame of it lies within the sound: every known value is in one valid cell. What a valid cell lacks is 0 in the
    embedding (the train mean of its band) and counts for nothing in the loss. The waveform is not part of a sample: files become
    spectrograms in ``audio_file``, and ``listen`` goes back.

    Args:
        width: D of the embedding; None = none is made.
        frames: T.
        spectrum: the fields of ``Spectrum``; F is its ``mels``.
        patch: (pt, pf) in frames and bands, or one number for both. Must divide (T, F).
        length: what becomes of sounds that are not T frames long, as in ``Look``.
        mean, std: per band, of the frames of train, in dB.
    """

    default_ratio = 0.8
    default_target = "values"
    targets = ("values", "norm_values", *TAUGHT)
    encoders = ("vit", "conv", "hybrid")
    augmentations = ("crop",)
    maskers = (
        "random", "line", "stripe", "block", "grid", "multi_block", "coarse", "variance", "motion", "weight_map",
        *OWN,
    )  # fmt: skip
    details = ("variance", "motion")
    blank = -200.0
    noun = "sound"
    suffixes = SUFFIXES
    axes = ("frames", "bands")
    legend = "Columns: original, masked, reconstruction, error (dark: none); time to the right, high notes up."
    unit = "dB, squared"
    bank = (
        Mask("random-80", "random", 0.8),
        Mask("random-50", "random", 0.5),
        Mask("line-50", "line", 0.5),
        Mask("stripe-40", "stripe", 0.4),
    )

    def __init__(
        self,
        width: int | None,
        frames: int,
        spectrum: Mapping[str, Any],
        patch: int | Sequence[int],
        length: str = "pad",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        level: float | None = None,
    ) -> None:
        super().__init__()
        self.look = Look(Spectrum(**spectrum), frames, length, level)
        self.look.check()
        bands = self.look.spectrum.mels
        pt, pf = _sides(patch)
        for axis, side, p in (("frames", frames, pt), ("bands", bands, pf)):
            if side % p:
                fits = ", ".join(str(d) for d in range(1, side + 1) if side % d == 0)
                raise ValueError(f"patch {p} does not divide the {side} {axis}: choose one of {fits}")
        if (pt, pf) == (frames, bands):
            raise ValueError(f"patch {pt}x{pf} covers the whole spectrogram: at least two cells are needed")
        self.patch, self.shape = (pt, pf), (frames, bands)
        self.grid = (frames // pt, bands // pf)
        self.values_per_cell = pt * pf
        for name, value, default in (("mean", mean, 0.0), ("std", std, 1.0)):
            row = [default] * bands if value is None else [float(v) for v in value]
            if len(row) != bands:
                raise ValueError(f"{name} has {len(row)} entries for {bands} bands")
            if name == "std" and not all(value > 0 for value in row):
                raise ValueError(f"std is {row}: every band needs a positive one")
            self.register_buffer(name, torch.tensor(row), persistent=False)
        times, places = torch.meshgrid(torch.arange(self.grid[0]), torch.arange(self.grid[1]), indexing="ij")
        self.register_buffer("coords", torch.stack([times, places], -1).view(-1, 2).float(), persistent=False)
        self.raster = Raster(1, self.grid, self.patch)
        self.project = None if width is None else nn.Linear(self.values_per_cell, width)

    mean: Tensor
    std: Tensor
    coords: Tensor

    @staticmethod
    def examples() -> dict[str, Example]:
        """Whole sounds, sounds of any length, and sounds of a frame or two in cells of an odd grid."""
        spectrum = {"rate": 8000, "window": 256, "hop": 128, "mels": 8, "low": 50, "high": 4000}
        plain = {"frames": 8, "spectrum": spectrum, "patch": [2, 4], "mean": [-60.0] * 8, "std": [15.0] * 8}
        odd = {**plain, "frames": 9, "spectrum": {**spectrum, "mels": 10}, "patch": [3, 2], "mean": [-50.0] * 10}
        odd["std"] = [10.0] * 10
        return {
            "whole": Example({**plain, "length": "stretch"}, partial(_noise, (8, 8), (8, 8))),
            "any length": Example(plain, partial(_noise, (8, 8), (3, 8))),
            "very short": Example(odd, partial(_noise, (9, 10), (1, 4))),
        }

    @staticmethod
    def facts(samples: np.ndarray, indices: np.ndarray, described: Mapping[str, Any]) -> Facts:
        """Mean and standard deviation of each band over the frames within sounds, and how many frames sounds have."""
        bands = samples.shape[2]
        count, total, squares = 0, np.zeros(bands), np.zeros(bands)
        lengths = []
        for start in range(0, len(indices), BLOCK):
            block = np.asarray(samples[indices[start : start + BLOCK]])
            known = ~np.isnan(block).any(2)
            lengths.append(known.sum(1))
            values = block[known].astype(np.float64)
            count += len(values)
            total += values.sum(0)
            squares += np.square(values).sum(0)
        mean = total / max(count, 1)
        std = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 0))
        every = np.concatenate(lengths)
        entries = {
            "mean": [round(float(m), 4) for m in mean],
            "std": [round(float(max(s, STD_FLOOR)), 4) for s in std],
            "lengths": {"shortest": int(every.min()), "median": int(np.median(every)), "longest": int(every.max())},
        }
        return Facts(entries, [])

    @staticmethod
    def default_patch(info: dict[str, Any]) -> list[int]:
        """The largest divisors of frames, up to 4, and of bands, up to 8."""
        frames, bands = info["sample"]["shape"]
        return [_largest(frames, MOST_FRAMES), _largest(bands, MOST_BANDS)]

    @staticmethod
    def misfit(info: dict[str, Any], patch: int | list[int]) -> str:
        """A patch has to divide both sides, and to leave cells to predict one from another."""
        shape, sides = info["sample"]["shape"], _sides(patch)
        for side, p, least, axis in zip(shape, sides, LEAST_CELLS, ("frames", "bands")):
            if side % p:
                return f"{p} does not divide {side} {axis}"
            if side // p < least:
                return f"{p} leaves fewer than {least} cells along {side} {axis}"
        return ""

    @staticmethod
    def configure(info: dict[str, Any], patch: int | list[int]) -> dict[str, Any]:
        """Shape, how files become spectrograms, patch and the train split's statistics."""
        kept: dict[str, Any] = {key: info[key] for key in ("spectrum", "length", "mean", "std", "level") if key in info}
        return {"frames": info["sample"]["shape"][0], "patch": patch, **kept}

    @staticmethod
    def geometry(config: dict[str, Any]) -> Geometry:
        """Of a grid of patches; sounds that are padded cost less."""
        pt, pf = _sides(config["patch"])
        return Geometry((config["frames"] // pt) * (config["spectrum"]["mels"] // pf), pt * pf, pt * pf)

    @staticmethod
    def raster_of(config: dict[str, Any]) -> Raster:
        """Of a grid of patches over frames and bands."""
        pt, pf = _sides(config["patch"])
        return Raster(1, (config["frames"] // pt, config["spectrum"]["mels"] // pf), (pt, pf))

    @staticmethod
    def plain(samples: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """The spectrogram, (n, T · F), 0 at and below ``FLOOR`` and behind the end, 1 at 0 dB."""
        flat = np.nan_to_num(np.asarray(samples), nan=FLOOR).reshape(len(samples), -1)
        return ((flat - FLOOR) / -FLOOR).astype(np.float32)

    @property
    def cells(self) -> int:
        """N."""
        return self.grid[0] * self.grid[1]

    def init_weights(self) -> None:
        """As images: the projection like a Linear, its bias as torch leaves a convolution's."""
        if self.project is None:
            return
        nn.init.xavier_uniform_(self.project.weight)
        bound = 1 / math.sqrt(self.values_per_cell)
        nn.init.uniform_(self.project.bias, -bound, bound)

    def split(self, raw: Tensor) -> Cells:
        """Raw (B, T, F) → normalised cells, NaN where nothing is known; differentiable."""
        if raw.dim() != 3 or tuple(raw.shape[1:]) != self.shape:
            raise ValueError(
                f"spectrograms of shape {tuple(raw.shape)} given, this model takes (B, {self.shape[0]}, {self.shape[1]})"
            )
        values = self._to_cells((raw - self.mean) / self.std)
        return Cells(values, self.coords, valid=~values.isnan().all(-1))

    def embed(self, cells: Cells, keep: Tensor | None = None, ok: Tensor | None = None) -> Tensor:
        """(B, N, D), or (B, V, D) of the kept cells alone."""
        values = cells.values if keep is None else gather_cells(cells.values, keep)
        known = ~values.isnan() if ok is None else ~values.isnan() & ok.unsqueeze(-1)
        assert self.project is not None
        return self.project(torch.where(known, values, 0.0))

    def detail(self, cells: Cells, name: str) -> Tensor:
        """``variance`` of a cell's known values, or ``motion``: the change of its mean since the moment before, up or down."""
        known = ~cells.values.isnan()
        count = known.sum(-1).clamp_min(1)
        mean = torch.where(known, cells.values, 0.0).sum(-1) / count
        if name == "variance":
            return torch.where(known, cells.values - mean.unsqueeze(-1), 0.0).square().sum(-1) / count
        if name == "motion":
            return change(mean.unflatten(1, self.grid), 1).flatten(1)
        return super().detail(cells, name)

    def _to_cells(self, x: Tensor) -> Tensor:
        """(B, T, F) → (B, N, P)."""
        (gt, gf), (pt, pf) = self.grid, self.patch
        return x.reshape(-1, gt, pt, gf, pf).transpose(2, 3).reshape(-1, gt * gf, pt * pf)

    def _to_frames(self, values: Tensor) -> Tensor:
        """(B, N, P) → (B, T, F)."""
        (gt, gf), (pt, pf) = self.grid, self.patch
        return values.reshape(-1, gt, gf, pt, pf).transpose(2, 3).reshape(-1, *self.shape)

    def covers(self, raw: Tensor, index: Tensor, ok: Tensor | None = None) -> Tensor:
        """Bool (B, T, F): the known values of the cells ``index`` (B, M)."""
        counts = torch.zeros(len(raw), self.cells, dtype=torch.int32, device=raw.device)
        counts.scatter_add_(1, index, torch.ones_like(index, dtype=torch.int32) if ok is None else ok.int())
        return self._to_frames((counts > 0).unsqueeze(-1).expand(-1, -1, self.values_per_cell)) & ~raw.isnan()

    def paste(self, raw: Tensor, values: Tensor, plan: Plan) -> Tensor:
        """Spectrograms whose hidden cells hold ``values`` (B, M, P), normalised; nothing is quieter than ``FLOOR``."""
        cells = torch.zeros(len(raw), self.cells, self.values_per_cell, device=raw.device)
        index = plan.hide.unsqueeze(-1).expand_as(values)
        filled = self._to_frames(cells.scatter(1, index, values.float())) * self.std + self.mean
        return torch.where(self.covers(raw, plan.hide, plan.hide_ok), filled.clamp_min(FLOOR).to(raw.dtype), raw)

    def error(self, filled: Tensor, raw: Tensor) -> Tensor:
        """Squared, in dB."""
        return (filled.float() - raw.float()).square()

    def trivial(self, raw: Tensor, hidden: Tensor) -> Tensor:
        """Hidden values become the mean of their band in train."""
        return torch.where(hidden, self.mean.to(raw.dtype), raw)

    def fills(self, raw: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """The mean of what is visible, and straight lines over time between visible frames; the bands' means in train where nothing is."""
        from mae_core.evaluation.sound_quality import linear_fill, mean_fill

        fills = {"mean_fill": mean_fill(raw, hidden), "linear_fill": linear_fill(raw, hidden)}
        return self.or_trivial(fills, raw, hidden)

    def quality(self, filled: Tensor, raw: Tensor, hidden: Tensor) -> dict[str, np.ndarray]:
        """Root mean square and mean absolute error of hidden values, in dB."""
        from mae_core.evaluation.sound_quality import measure

        return measure(filled, raw, hidden)

    def picture(self, raw: Tensor, masked: Tensor, filled: Tensor) -> np.ndarray:
        """Original, masked, reconstruction, error in colours; time to the right, high notes up."""
        from mae_core.evaluation.sound_quality import picture_rows

        original, seen, found = (self.render(x).cpu().numpy() for x in (raw, masked, filled))
        return picture_rows(original, seen, found, self.error(filled, raw).sqrt().cpu().numpy())

    def augment(self, raw: Tensor, draws: Draws, how: Augmentation) -> Tensor:
        """Excerpts, stretched back: slower and faster, higher and lower speech (random resize crop, Niizumi et al. 2021, BYOL-A)."""
        return raw if how.crop >= 1 else excerpt(raw, draws, how.crop)

    def jitter(self, raw: Tensor, draws: Draws, most: int) -> Tensor:
        """Moved by up to ``most`` frames and bands: speech a little later or earlier, from a longer or shorter throat."""
        return shift(raw, draws, most)

    def render(self, raw: Tensor) -> Tensor:
        """Raw (B, T, F) → uint8 RGB (B, F, T, 3) from ``FLOOR`` to loud; hidden values grey, white behind the end."""
        from mae_core.evaluation.sound_quality import colours

        return colours(raw, FLOOR, float((self.mean + 3 * self.std).max()), self.blank)

    def view(
        self, raw: Tensor, hidden: Tensor | None = None, truth: Tensor | None = None, belief: Belief | None = None
    ) -> list[list[Panel]]:
        """The spectrogram, what it sounds like, and where it differs from the truth; hidden parts are silent."""
        from mae_core.evaluation.sound_quality import error_colours

        panels: list[list[Panel]] = []
        for picture, levels in zip(self.render(raw).cpu().numpy(), raw.cpu()):
            within = ~levels.isnan().any(1)
            panels.append([Picture(picture), Sound(levels[within].float().numpy(), self.look.spectrum)])
        if truth is not None:
            for some, heat in zip(panels, error_colours(self.error(raw, truth).sqrt().cpu().numpy())):
                some.append(Picture(heat, "error: black is none, yellow much"))
        return panels

    def listen(self, raw: Tensor) -> Tensor:
        """One raw (T, F) → (samples,) float32 at ``look.spectrum.rate``: a sound whose spectrogram is near it."""
        return griffin_lim(raw[~raw.isnan().any(1)], self.look.spectrum)

    def read(self, data: bytes) -> np.ndarray:
        """One sound, as the dataset's were read."""
        return hear(data, self.look).frames.numpy()[None]

    def differs(self, info: dict[str, Any]) -> str:
        """Bands, frames or lengths that mean something else."""
        ours = {**self.look.spectrum._asdict(), "length": self.look.length, "level": self.look.level}
        theirs = {**info["spectrum"], "length": info["length"], "level": info.get("level")}
        return ", ".join(f"{key} {theirs[key]} instead of {ours[key]}" for key in ours if ours[key] != theirs[key])


def _sides(patch: int | Sequence[int]) -> tuple[int, int]:
    return (patch, patch) if isinstance(patch, int) else (patch[0], patch[1])


def _largest(side: int, most: int) -> int:
    return max(p for p in range(1, most + 1) if side % p == 0)


def _noise(shape: tuple[int, int], lengths: tuple[int, int], n: int, generator: torch.Generator) -> Tensor:
    """(n, *shape) around −60 dB: sounds of ``lengths[0]`` to ``lengths[1]`` frames, the first of them longest."""
    raw = -60 + 15 * torch.randn(n, *shape, generator=generator)
    ends = torch.randint(lengths[0], lengths[1] + 1, (n, 1), generator=generator)
    ends[0] = lengths[1]
    return torch.where((torch.arange(shape[0]) < ends).unsqueeze(-1), raw.clamp_min(FLOOR), float("nan"))
