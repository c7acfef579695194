"""Models in memory, one inference at a time, and what pages need of what they return."""

from __future__ import annotations

import io
import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import streamlit as st

from experiments.results import Dataset, Model, repro

if TYPE_CHECKING:
    from mae_core.modalities.base import Modality
    from mae_core.modalities.panels import Panel
    from mae_core.model import MaskedAutoencoder

LOCK = threading.Lock()  # sessions are threads: two inferences at once would only take the cores from each other
MOST_SEARCHED = 4000
Stamp = tuple[str, int, int]


class Unusable(Exception):
    """A model folder that cannot be loaded; says why and what makes it anew."""

    def __init__(self, model: Model, why: str):
        super().__init__(why)
        self.path = f"{model.origin}/{model.name}"
        self.command = repro("pretrain" if model.origin == "models" else "controls", model.recipe)


class Restored(NamedTuple):
    """One sample through one model."""

    original: list[Panel]
    masked: list[Panel]
    filled: list[Panel]
    picture: np.ndarray
    """(H, W, 3) uint8: what the modality calls its ``legend``."""
    pair: np.ndarray
    """(H, W, 3) uint8: what was seen, above what was made of it."""
    measure: str
    """The first of the modality's ``quality``."""
    value: float
    unit: str
    """Of the modality's ``error``."""
    error: float
    grid: str
    """'7 × 7 cells'."""
    note: str
    seconds: float


class OwnMasks(NamedTuple):
    """Masks that a model draws as it was trained with."""

    sheet: np.ndarray
    """(H, W, 3) uint8: samples whole, then under each draw."""
    often: np.ndarray
    """(rows, columns): share of the samples in which a cell is hidden, NaN where there is no cell."""
    evenness: float
    agreement: float
    """Of two masks of a sample: 0 as two random ones, 1 where they are always the same."""
    samples: int


class Completed(NamedTuple):
    """One sample whose missing entries were filled in."""

    panels: list[Panel]
    missing: int
    """How many entries were."""


class Neighbours(NamedTuple):
    """The nearest training samples by cosine similarity of features, nearest first."""

    indices: np.ndarray
    similarity: np.ndarray
    searched: int
    seconds: float


@st.cache_resource(max_entries=4, show_spinner=False)
def _load(folder: str, mtime_ns: int, size: int) -> MaskedAutoencoder:
    from mae_core.model import MaskedAutoencoder

    return MaskedAutoencoder.load(folder)


def load(model: Model) -> MaskedAutoencoder:
    """The model of a folder, on the CPU; raises Unusable for one that cannot be loaded."""
    try:
        return _load(*_stamp(model))
    except (
        Exception
    ) as error:  # safetensors, torch and json each have their own: the folder is bad, whatever they call it
        why = " ".join(str(error).split()).replace(f"{model.folder}/", "") or type(error).__name__
        raise Unusable(model, why[:300]) from error


def _stamp(model: Model) -> Stamp:
    return _stamp_of(model.folder / "model.safetensors", model.folder)


def _stamp_of(file: Path, named: Path | None = None) -> Stamp:
    stat = file.stat()
    return str(named or file), stat.st_mtime_ns, stat.st_size


def modality_of(dataset: Dataset) -> Modality:
    """What shows samples of a dataset where there is no model. Raises where dataset.json is unsound."""
    return _modality(json.dumps(dataset.info, sort_keys=True))


@st.cache_resource(max_entries=16, show_spinner=False)
def _modality(info: str) -> Modality:
    from mae_core.modalities import MODALITIES
    from mae_core.registry import resolve

    described = json.loads(info)
    kind = resolve(MODALITIES, described.get("modality", ""), "modality")
    return kind(width=8, **kind.configure(described, kind.default_patch(described)))


def views(modality: Modality, raw: np.ndarray) -> list[list[Panel]]:
    """How people look at (n, …) raw samples, nothing hidden."""
    import torch

    return modality.view(torch.from_numpy(np.array(raw)))


def gallery(dataset: Dataset, raw: np.ndarray, ratio: float) -> np.ndarray:
    """RGB: (n, …) raw samples of a dataset under every mask that fits it."""
    import torch

    from mae_core.masking import gallery

    return gallery.gallery(modality_of(dataset), torch.from_numpy(np.array(raw)), ratio)


def png(picture: np.ndarray) -> bytes:
    """A picture as a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def stacked(pictures: list[np.ndarray], across: bool = False, gap: int = 4) -> np.ndarray:
    """Pictures one below another, or beside each other, on white."""
    height, width = (max(p.shape[axis] for p in pictures) for axis in (0, 1))
    padded = []
    for picture in pictures:
        wide = ((0, height - len(picture)), (0, gap)) if across else ((0, gap), (0, width - picture.shape[1]))
        padded.append(np.pad(picture, (*wide, (0, 0)), constant_values=255))
    return np.concatenate(padded, 1 if across else 0)


@st.cache_data(max_entries=64, show_spinner=False)
def _own_masks(stamp: Stamp, raw: np.ndarray, shown: int, ratio: float) -> OwnMasks:
    import torch

    from mae_core.masking.coverage import coverage
    from mae_core.masking.gallery import own_gallery

    model, batch = _load(*stamp).eval(), torch.from_numpy(np.array(raw))
    with LOCK:
        found = coverage(model, batch, ratio)
        sheet = own_gallery(model, batch[:shown], ratio)
        return OwnMasks(sheet, found.grid(), found.evenness, found.agreement, found.samples)


def own_masks(model: Model, raw: np.ndarray, shown: int, ratio: float) -> OwnMasks:
    """What a model's own masks hide of (n, …) raw samples; the first ``shown`` are drawn."""
    load(model)
    return _own_masks(_stamp(model), np.ascontiguousarray(raw), shown, ratio)


@st.cache_data(max_entries=512, show_spinner=False)
def _restore(stamp: Stamp, raw: np.ndarray, ratio: float, strategy: str, seed: int, index: int) -> Restored:
    import torch

    model = _load(*stamp)
    modality = model.modality
    with LOCK:
        start = time.perf_counter()
        batch = torch.from_numpy(np.array(raw)[None])
        made = model.reconstruct(batch, ratio=ratio, strategy=strategy, seed=seed, ids=torch.tensor([index]))
        seconds = time.perf_counter() - start
        measure, values = next(iter(modality.quality(made.filled, batch, made.hidden).items()))
        seen, found = (modality.render(x)[0].cpu().numpy() for x in (made.masked, made.filled))
        return Restored(
            original=modality.view(batch)[0],
            masked=modality.view(made.masked, made.hidden)[0],
            filled=modality.view(made.filled, made.hidden, batch, made.belief)[0],
            picture=modality.picture(batch, made.masked, made.filled),
            pair=stacked([seen, found], gap=1),
            measure=measure,
            value=float(values[0]),
            unit=modality.unit,
            error=float(made.mse[0]),
            grid=_grid(modality.split(batch).coords),
            note=made.note,
            seconds=seconds,
        )


def _grid(coords: Any) -> str:
    """'7 × 7 cells' where the places fill a grid, else how many there are."""
    places = coords if coords.dim() == 2 else coords[0]
    sides = [len(axis.unique()) for axis in places.T]
    whole = int(np.prod(sides)) == len(places) and len(sides) > 1
    return (" × ".join(map(str, sides)) if whole else str(len(places))) + " cells"


def restore(model: Model, raw: np.ndarray, ratio: float, strategy: str, seed: int, index: int = 0) -> Restored:
    """Hide part of one raw sample and restore it. Models with one grid of cells get one and the same mask."""
    load(model)
    return _restore(_stamp(model), np.ascontiguousarray(raw), ratio, strategy, seed, index)


def complete(model: Model, raw: np.ndarray) -> Completed | None:
    """One raw sample with predictions where values are missing; None where nothing is."""
    import torch

    from mae_core.applications.impute import impute

    loaded = load(model)
    with LOCK:
        made = impute(loaded, torch.from_numpy(np.array(raw)[None]))
    if not made.missing.any():
        return None
    panels = loaded.modality.view(made.filled, made.missing, None, made.belief)[0]
    return Completed(panels, int(made.missing.sum()))


def mended(model: Model, data: bytes, raw: np.ndarray) -> bytes:
    """The file ``data``, that held the raw samples (n, …), with predictions where it lacks values."""
    import torch

    from mae_core.applications.impute import impute

    loaded = load(model)
    with LOCK:
        made = impute(loaded, torch.from_numpy(np.array(raw)))
    return loaded.modality.mended(data, made.filled.numpy())


@st.cache_data(max_entries=4, show_spinner=False)
def _features(stamp: Stamp, data: Stamp, chosen: np.ndarray) -> np.ndarray:
    import torch

    from mae_core.data.dataset import open_samples

    model, samples = _load(*stamp), open_samples(data[0])
    with LOCK, torch.no_grad():
        parts = [
            model.encode(torch.from_numpy(np.array(samples[part])))
            for part in np.array_split(chosen, -(-len(chosen) // 256))
        ]
        features = torch.nn.functional.normalize(torch.cat(parts), dim=1)
    return features.numpy()


def neighbours(model: Model, samples_file: Path, count: int, raw: np.ndarray, k: int) -> Neighbours:
    """The k nearest of (at most 4,000, evenly spread) training samples to one raw sample, all unmasked."""
    import torch

    loaded = load(model)
    start = time.perf_counter()
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_SEARCHED)).astype(int))
    bank = _features(_stamp(model), _stamp_of(samples_file), chosen)
    with LOCK, torch.no_grad():
        feature = torch.nn.functional.normalize(loaded.encode(torch.from_numpy(np.array(raw)[None])), dim=1)[0].numpy()
    similarity = bank @ feature
    order = np.argsort(-similarity, kind="stable")[:k]
    return Neighbours(chosen[order], similarity[order], len(chosen), time.perf_counter() - start)


def fits(model: Model, dataset: Dataset) -> bool:
    """Whether a masked autoencoder takes samples of a dataset as they are."""
    if model.config.get("type") == "classifier" or (model.config.get("modality") or {}).get("kind") != dataset.modality:
        return False
    return _takes(json.dumps(model.config["modality"], sort_keys=True), json.dumps(dataset.info, sort_keys=True))


def shows(model: Model) -> bool:
    """Whether what a masked autoencoder predicts can be shown as a sample."""
    from mae_core.registry import resolve
    from mae_core.targets import TARGETS

    target = (model.config.get("objective") or {}).get("target")
    return target not in TARGETS or getattr(resolve(TARGETS, target, "target"), "shown", True)


@st.cache_data(max_entries=256, show_spinner=False)
def _takes(config: str, info: str) -> bool:
    import torch

    from mae_core.modalities import MODALITIES
    from mae_core.registry import resolve

    settings, described = json.loads(config), json.loads(info)
    try:
        modality = resolve(MODALITIES, settings.pop("kind"), "modality")(width=8, **settings)
        sample = described["sample"]
        modality.split(torch.from_numpy(np.zeros((1, *sample["shape"]), sample["dtype"])))
        return not modality.differs(described)
    except (ValueError, TypeError, KeyError):  # another shape, or a file that holds nonsense: not this one
        return False
