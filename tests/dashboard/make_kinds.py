"""A SYNTHETIC dataset and an untrained model of every kind of sample, made of the modalities' own examples."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from films import make_video
from PIL import Image

from mae_core.modalities import MODALITIES
from mae_core.modalities.base import Modality
from mae_core.modalities.panels import Sound
from mae_core.modalities.video import VideoModality
from mae_core.model import MaskedAutoencoder
from mae_core.registry import resolve

EXAMPLES = {
    "image": "wide", "video": "wide", "audio": "any length", "text": "padded", "table": "mixed", "series": "three with gaps",
    "joint": "parts missing",
}  # fmt: skip
"""Of each kind, the one that is not plain."""
SIZES = {"train": 30, "validation": 8, "test": 8}


def kinds(root: Path) -> Path:
    """``data/<kind>`` and ``models/<kind>/seed-0`` of each; texts have no labels."""
    for kind in EXAMPLES:
        model(root, kind, dataset(root, kind))
    recipes = {kind: {"dataset": kind, "modality": kind} for kind in EXAMPLES}
    params = {"datasets": list(EXAMPLES), "recipes": recipes, "transfers": {}}
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return root


def dataset(root: Path, kind: str) -> dict[str, Any]:
    """Writes a dataset; its ``dataset.json``."""
    modality = resolve(MODALITIES, kind, "modality")
    example = modality.examples()[EXAMPLES[kind]]
    folder = root / "data" / kind
    folder.mkdir(parents=True)
    info: dict[str, Any] = {
        "schema": 1, "name": kind, "modality": kind, "axes": list(modality.axes), "classes": ["even", "odd"],
        "licence": "synthetic, CC0", "source": "tests/dashboard/make_kinds.py", "verified": True, "overlaps": [],
        "duplicates": {"within": 0, "across_splits": 0}, "quarantined": 0, "ignored": 0, "notes": [],
        "fingerprint": "5e" * 16, "splits": {},
    }  # fmt: skip
    for seed, (split, n) in enumerate(SIZES.items()):
        samples = example.raw(n, torch.Generator().manual_seed(seed)).numpy()
        labels = np.full(n, -1) if kind == "text" else np.arange(n) % 2
        np.save(folder / f"{split}-samples.npy", samples)
        np.save(folder / f"{split}-labels.npy", labels.astype(np.int64))
        (folder / f"{split}-names.json").write_text(json.dumps([f"synthetic[{i}]" for i in range(n)]))
        info["splits"][split] = {"samples": n, "labelled": int((labels >= 0).sum())}
        if split == "train":
            info["sample"] = {"shape": list(samples.shape[1:]), "dtype": str(samples.dtype)}
            described = {**example.config, **_parts(example.config)}
            facts = modality.facts(samples, np.arange(n), described)
            info |= {"length": "pad", **described, **facts.entries, "notes": facts.notes}
    (folder / "dataset.json").write_text(json.dumps(info))
    return info


def _parts(config: dict[str, Any]) -> dict[str, Any]:
    """What a source says of the parts of joint samples, from a model's config of them."""
    if "parts" not in config:
        return {}
    parts = []
    for part in config["parts"]:
        made = resolve(MODALITIES, part["kind"], "modality")(
            width=8, **{k: v for k, v in part.items() if k not in ("name", "kind")}
        )
        sample = {"shape": list(made.shape), "dtype": str(made.dtype).removeprefix("torch.")}
        parts.append({**part, "sample": sample, "length": "pad"})
    return {"parts": parts}


def model(root: Path, kind: str, info: dict[str, Any]) -> None:
    """Saves an untrained model of a dataset."""
    modality = resolve(MODALITIES, kind, "modality")
    config = {
        "modality": {"kind": kind, **modality.configure(info, _patch(info))},
        "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
        "decoder": {"kind": "joint", "width": 16, "depth": 1, "heads": 2},
        "masking": {"strategy": modality.maskers[0], "ratio": 0.5},
        "objective": {"target": modality.default_target, "reconstruction": 1.0},
    }
    MaskedAutoencoder.build(config).save(root / "models" / kind / "seed-0", card="# Synthetic\n\nNever trained.\n")


def _patch(info: dict[str, Any]) -> Any:
    if "parts" in info:
        return {part["name"]: part.get("patch", 1) for part in info["parts"]}
    return info.get("patch", 1)


def file_of(modality: Modality, raw: torch.Tensor) -> bytes:
    """Raw samples as a file that the modality reads: what it writes itself, else one sound or one picture."""
    if text := modality.written(raw):
        return text.encode()
    if isinstance(modality, VideoModality):
        with tempfile.TemporaryDirectory() as folder:
            return make_video(Path(folder) / "clip.avi").read_bytes()
    sounds = [panel for panel in modality.view(raw)[0] if isinstance(panel, Sound)]
    if sounds:
        return sounds[0].wav()
    buffer = io.BytesIO()
    Image.fromarray(modality.render(raw)[0].numpy()).save(buffer, "PNG")
    return buffer.getvalue()
