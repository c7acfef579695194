"""Models in memory, one inference at a time, and the pictures made of what they return."""

from __future__ import annotations

import io
import threading
import time
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import streamlit as st

from experiments.results import Model, repro

if TYPE_CHECKING:
    from mae_core.model import MaskedAutoencoder

LOCK = threading.Lock()  # sessions are threads: two inferences at once would only take the cores from each other
SMALLEST_SHOWN = 420  # pixels per side: more than a page gives a picture, so that a browser shrinks, never blurs
MOST_SEARCHED = 4000
HEAT = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], float)  # dark = no error


class Unusable(Exception):
    """A model folder that cannot be loaded; says why and what makes it anew."""

    def __init__(self, model: Model, why: str):
        super().__init__(why)
        self.path = f"{model.origin}/{model.name}"
        self.command = repro("pretrain" if model.origin == "models" else "controls", model.recipe)


class Restored(NamedTuple):
    """One image through one model; pictures are (H, W, 3) uint8."""

    masked: np.ndarray
    image: np.ndarray
    error: np.ndarray
    psnr: float  # dB, over hidden pixels
    note: str
    seconds: float


class Neighbours(NamedTuple):
    """The nearest training images by cosine similarity of features, nearest first."""

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


def _stamp(model: Model) -> tuple[str, int, int]:
    stat = (model.folder / "model.safetensors").stat()
    return str(model.folder), stat.st_mtime_ns, stat.st_size


def rgb(sample: np.ndarray) -> np.ndarray:
    """(C, H, W) uint8 → (H, W, 3): grey repeated, the first three channels of many, two padded with black."""
    shown = sample[:3]
    if len(shown) == 1:
        shown = shown.repeat(3, 0)
    elif len(shown) == 2:
        shown = np.concatenate([shown, np.zeros_like(shown[:1])])
    return np.ascontiguousarray(shown.transpose(1, 2, 0))


def enlarge(picture: np.ndarray, side: int = SMALLEST_SHOWN) -> np.ndarray:
    """Whole-number enlargement of a small picture, pixel by pixel, so that nothing is invented between pixels."""
    times = max(1, -(-side // max(picture.shape[:2])))
    return picture.repeat(times, 0).repeat(times, 1)


def show(
    picture: np.ndarray, caption: str = "", side: int = SMALLEST_SHOWN, width: int | Literal["stretch"] = "stretch"
) -> None:
    """Draw a picture, enlarged without blur and stored without loss. The caption must be safe Markdown."""
    st.image(enlarge(picture, side), caption or None, width=width, output_format="PNG")


def error_map(truth: np.ndarray, made: np.ndarray) -> np.ndarray:
    """(H, W, 3) heat of the mean absolute difference: black is none, pale yellow is half of the range or more."""
    gap = np.abs(truth.astype(float) - made.astype(float)).mean(-1) / 127.5
    stops = np.linspace(0, 1, len(HEAT))
    return np.stack([np.interp(np.clip(gap, 0, 1), stops, HEAT[:, c]) for c in range(3)], -1).astype(np.uint8)


def png(picture: np.ndarray) -> bytes:
    """A picture as a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


@st.cache_data(max_entries=512, show_spinner=False)
def _restore(
    stamp: tuple[str, int, int], raw: np.ndarray, ratio: float, strategy: str, seed: int, index: int
) -> Restored:
    import torch

    model = _load(*stamp)
    with LOCK:
        start = time.perf_counter()
        batch = torch.from_numpy(np.array(raw)[None])
        made = model.reconstruct(batch, ratio=ratio, strategy=strategy, seed=seed, ids=torch.tensor([index]))
        seconds = time.perf_counter() - start
    truth, image, masked = rgb(raw), rgb(made.filled[0].numpy()), rgb(made.masked[0].numpy())
    return Restored(masked, image, error_map(truth, image), float(made.psnr[0]), made.note, seconds)


def restore(model: Model, raw: np.ndarray, ratio: float, strategy: str, seed: int, index: int = 0) -> Restored:
    """Hide part of one (C, H, W) uint8 image and restore it. Models with one grid of cells get one and the same mask."""
    load(model)
    return _restore(_stamp(model), np.ascontiguousarray(raw), ratio, strategy, seed, index)


@st.cache_data(max_entries=4, show_spinner=False)
def _features(stamp: tuple[str, int, int], data: tuple[str, int, int], chosen: np.ndarray) -> np.ndarray:
    import torch

    model, images = _load(*stamp), np.load(data[0], mmap_mode="r", allow_pickle=False)
    with LOCK, torch.no_grad():
        parts = [
            model.encode(torch.from_numpy(np.array(images[part])))
            for part in np.array_split(chosen, -(-len(chosen) // 256))
        ]
        features = torch.nn.functional.normalize(torch.cat(parts), dim=1)
    return features.numpy()


def neighbours(model: Model, samples_file: str, count: int, raw: np.ndarray, k: int) -> Neighbours:
    """The k nearest of (at most 4,000, evenly spread) training images to one (C, H, W) image, both unmasked."""
    import os

    import torch

    loaded = load(model)
    start = time.perf_counter()
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_SEARCHED)).astype(int))
    stat = os.stat(samples_file)
    bank = _features(_stamp(model), (samples_file, stat.st_mtime_ns, stat.st_size), chosen)
    with LOCK, torch.no_grad():
        feature = torch.nn.functional.normalize(loaded.encode(torch.from_numpy(np.array(raw)[None])), dim=1)[0].numpy()
    similarity = bank @ feature
    order = np.argsort(-similarity, kind="stable")[:k]
    return Neighbours(chosen[order], similarity[order], len(chosen), time.perf_counter() - start)


def fits(model: Model, shape: tuple[int, ...]) -> bool:
    """Whether a model takes images of this (C, H, W)."""
    modality = model.config.get("modality", {})
    return isinstance(modality, dict) and [modality.get("channels"), *(modality.get("size") or [])] == list(shape)


def grid(model: Model) -> tuple[int, int]:
    """Rows and columns of cells."""
    modality = model.config["modality"]
    patch, (height, width) = modality["patch"], modality["size"]
    ph, pw = (patch, patch) if isinstance(patch, int) else patch
    return height // ph, width // pw
