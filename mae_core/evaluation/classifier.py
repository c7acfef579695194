"""An encoder with a saved head: what fine-tuning makes, and what a linear probe is once it is put to use."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mae_core.atomic import replace_folder
from mae_core.building import build_encoder
from mae_core.cells import Plan
from mae_core.draws import Draws
from mae_core.model import MaskedAutoencoder, encoded, features_of

SCHEMA = 1
HEAD_STD = 0.01
BATCH_NORM_EPS = 1e-6


class Classifier(nn.Module):
    """The features that probes read → BatchNorm without affine → Linear, the head of MAE's linear probe (He et al. 2022, §A.1).

    Mean-pooled features share a large constant part, which BatchNorm takes away. With LayerNorm instead, as in MAE's fine-tuning, a
    pretrained encoder learns as well, but one from scratch is still far from its best after a few hundred steps: an unfair twin.

    Args:
        config: ``modality`` and ``encoder`` as in a model's ``config.json``; other keys are left out.
        classes: their names, in the order of the logits.
    """

    def __init__(self, config: Mapping[str, Any], classes: Sequence[str]) -> None:
        super().__init__()
        modality, encoder = dict(config["modality"]), dict(config["encoder"])
        self.config = json.loads(json.dumps({"modality": modality, "encoder": encoder, "classes": list(classes)}))
        self.modality, self.encoder = build_encoder(config)
        of_token = self.encoder.global_pool == "token"
        features = encoder["width"] if of_token else self.modality.feature_width(encoder["width"])
        self.norm = nn.BatchNorm1d(features, eps=BATCH_NORM_EPS, affine=False)
        self.head = nn.Linear(features, len(classes))
        self.modality.init_weights()
        self.encoder.init_weights()
        nn.init.normal_(self.head.weight, std=HEAD_STD)
        nn.init.zeros_(self.head.bias)

    @classmethod
    def build(cls, config: Mapping[str, Any], classes: Sequence[str], seed: int = 0) -> Classifier:
        """A network from scratch; the same seed gives the same weights whatever was drawn before."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(config, classes)

    @classmethod
    def from_pretrained(cls, model: MaskedAutoencoder, classes: Sequence[str], seed: int = 0) -> Classifier:
        """The encoder of ``model`` (a copy) with a fresh head, which is the one ``build`` gives for this seed."""
        made = cls.build(model.config, classes, seed)
        made.modality.load_state_dict(model.modality.state_dict())
        made.encoder.load_state_dict(model.encoder.state_dict())
        return made

    def forward(self, raw: Tensor, plan: Plan | None = None, draws: Draws | None = None) -> Tensor:
        """Raw samples → logits (B, classes), from every cell, or from the kept ones of ``plan`` alone.

        In training an encoder with ``drop_path`` drops what ``draws`` says.
        """
        cells = self.modality.split(raw)._replace(draws=draws)
        latent = self.encoder(self.modality, cells, plan)
        return self.head(self.norm(features_of(self.encoder, self.modality, latent, cells, plan)))

    def encode(self, raw: Tensor, pool: str = "features") -> Tensor:
        """Features of whole samples before the head, as ``MaskedAutoencoder.encode`` gives them."""
        return encoded(self.encoder, self.modality, raw, pool)

    @property
    def layers(self) -> int:
        """Depths that layer decay tells apart: the embedding, each block, and the last norm with the head."""
        return len(self.encoder.blocks) + 2

    def layer_of(self, name: str) -> int:
        """The depth of a parameter by its name. Raises ValueError for a name that belongs to no known part."""
        parts = name.split(".")
        if parts[0] == "modality" or (parts[0] == "encoder" and parts[1] in ("global_token", "registers", "stem")):
            return 0
        if parts[:2] == ["encoder", "blocks"]:
            return int(parts[2]) + 1
        if parts[:2] == ["encoder", "norm"] or parts[0] == "head":
            return self.layers - 1
        raise ValueError(
            f"layer decay does not know at what depth parameter {name} lies: add it to Classifier.layer_of"
        )

    def save(self, folder: str | Path, provenance: Mapping[str, Any] | None = None, card: str = "") -> Path:
        """Writes ``model.safetensors``, ``config.json`` and ``card.md`` to ``folder``, replacing it in one step."""
        with replace_folder(Path(folder)) as staging:
            save_file({n: v.contiguous() for n, v in self.state_dict().items()}, str(staging / "model.safetensors"))
            config = {**self.config, "schema": SCHEMA, "type": "classifier", "provenance": dict(provenance or {})}
            (staging / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
            (staging / "card.md").write_text(card or "# A classifier\n\nSee config.json.\n")
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> Classifier:
        """What ``save`` wrote, in eval mode on the CPU. Raises ValueError for a folder that is no classifier."""
        path = Path(folder) / "config.json"
        if not path.is_file():
            raise ValueError(
                f"{folder} is no classifier folder: config.json is missing. `dvc repro` makes them under heads/"
            )
        config = json.loads(path.read_text())
        if config.get("type") != "classifier" or config.get("schema") != SCHEMA:
            found = f"type {config.get('type')!r}, schema {config.get('schema')!r}"
            raise ValueError(f"{path} has {found}; a classifier of schema {SCHEMA} was expected")
        made = cls.build(config, config["classes"])
        made.load_state_dict(load_file(str(Path(folder) / "model.safetensors")))
        return made.eval()
