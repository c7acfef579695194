"""SYNTHETIC results in the documented formats (docs/architecture.md): every number below is drawn, none was measured.

python tests/dashboard/make_results.py FOLDER [RECIPES]      # then: MAESTRO_ROOT=FOLDER make ui
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image, ImageDraw, ImageFont

SIDE = 28
BASE = {"pretrained": 0.93, "untrained": 0.71, "autoencoder": 0.86, "pixels_logistic": 0.90, "pca": 0.88}
SCORE_COLUMNS = [
    "recipe",
    "dataset",
    "split",
    "model",
    "task",
    "metric",
    "labels_per_class",
    "pretrain_seed",
    "probe_seed",
    "n_train",
    "n_test",
    "value",
    "low",
    "high",
    "fingerprint",
]


def glyphs(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 1, 28, 28) uint8 drawn digits with jitter, (n,) int64 labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n)
    images = np.zeros((n, 1, SIDE, SIDE), np.uint8)
    for i, label in enumerate(labels):
        picture = Image.new("L", (SIDE, SIDE))
        font = ImageFont.load_default(size=int(rng.integers(18, 26)))
        at = (int(rng.integers(4, 12)), int(rng.integers(-2, 5)))
        ImageDraw.Draw(picture).text(at, str(label), fill=int(rng.integers(170, 256)), font=font)
        images[i, 0] = np.asarray(picture.rotate(float(rng.normal(0, 9)), resample=Image.Resampling.BILINEAR))
    return images, labels.astype(np.int64)


def dataset(root: Path, name: str) -> None:
    folder = root / "data" / name
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"train": 200, "validation": 40, "test": 60}
    for i, (split, n) in enumerate(sizes.items()):
        images, labels = glyphs(n, i)
        np.save(folder / f"{split}-samples.npy", images)
        np.save(folder / f"{split}-labels.npy", labels)
        (folder / f"{split}-names.json").write_text(json.dumps([f"synthetic[{j}]" for j in range(n)]))
    pd.DataFrame(
        [("broken/zero.png", "empty file", "0 bytes"), ("broken/half.jpg", "truncated", "ends at byte 812")],
        columns=["file", "reason", "detail"],
    ).to_csv(folder / "quarantine.csv", index=False)
    info = {
        "schema": 1,
        "name": name,
        "modality": "image",
        "sample": {"shape": [1, SIDE, SIDE], "dtype": "uint8"},
        "splits": {split: {"samples": n, "labelled": n} for split, n in sizes.items()},
        "classes": [str(d) for d in range(10)],
        "mean": [0.11],
        "std": [0.27],
        "licence": "synthetic, CC0",
        "source": "tests/dashboard/make_results.py",
        "verified": False,
        "overlaps": ["mnist"],
        "duplicates": {"within": 1, "across_splits": 0},
        "quarantined": 2,
        "ignored": 0,
        "notes": ["synthetic glyphs, not photographs of anything"],
        "fingerprint": "5e" * 16,
    }
    (folder / "dataset.json").write_text(json.dumps(info))


def scores(recipe: str, data: str, seeds: Sequence[int], lift: float) -> pd.DataFrame:
    rng = np.random.default_rng(int(hashlib.md5(recipe.encode()).hexdigest()[:8], 16))
    rows: list[list[object]] = []

    def row(
        model: str, task: str, metric: str, split: str, seed: object, probe: object, labels: object, v: float
    ) -> None:
        n = 400 if split == "validation" else 1000
        half = 1.96 * (max(v * (1 - v), 1e-4) / n) ** 0.5 if metric == "accuracy" else None
        low, high = (None, None) if half is None else (max(v - half, 0), min(v + half, 1))
        train = 3600 if labels == "" else 10 * int(str(labels))
        rows.append([recipe, data, split, model, task, metric, labels, seed, probe, train, n, v, low, high, "ab12"])

    for split in ("validation", "test"):
        for model, value in BASE.items():
            of_data = model in ("pixels_logistic", "pca")
            for seed in [""] if of_data else seeds:
                up = lift if model in ("pretrained", "autoencoder") else 0.0
                drawn = 0.0 if of_data else rng.normal(0, 0.004)
                row(model, "linear", "accuracy", split, seed, 0, "", float(np.clip(value + up + drawn, 0, 0.999)))
        for model, value in {"pretrained": 0.87, "untrained": 0.57, "pixels_knn": 0.92}.items():
            for seed in [""] if model == "pixels_knn" else seeds:
                drawn = 0.0 if model == "pixels_knn" else lift + rng.normal(0, 0.004)
                row(model, "knn", "accuracy", split, seed, "", "", float(value + drawn))
    for labels in (1, 5, 10, 50):
        for seed in seeds:
            for probe in (0, 1, 2):
                for model, value in {"pretrained": 0.35, "untrained": 0.28}.items():
                    v = value + 0.13 * float(np.log(labels)) + rng.normal(0, 0.02)
                    row(model, "few_label", "accuracy", "test", seed, probe, labels, v)
    for seed in seeds:
        row("pretrained", "finetune", "accuracy", "test", seed, 0, 10, 0.88 + lift + rng.normal(0, 0.01))
        row("scratch", "finetune", "accuracy", "test", seed, 0, 10, 0.79 + rng.normal(0, 0.01))
        row("pretrained", "reconstruction", "psnr", "test", seed, "", "", 17.2 + rng.normal(0, 0.2))
        row("pretrained", "rank", "rank", "test", seed, "", "", 31.0 + rng.normal(0, 1.0))
    return pd.DataFrame(rows, columns=SCORE_COLUMNS)


def history(seeds: Sequence[int], lift: float = 0.0, steps: int = 1200) -> pd.DataFrame:
    frames = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        step = np.arange(10, steps + 1, 10)
        frames.append(
            pd.DataFrame(
                {
                    "seed": seed,
                    "step": step,
                    "samples": step * 128,
                    "epoch": step * 128 / 3600,
                    "loss": 0.35 - 2 * lift + 0.6 * np.exp(-step / 180) + rng.normal(0, 0.01, len(step)),
                    "lr": 2e-3 * np.minimum(step / 84, 0.5 * (1 + np.cos(np.pi * step / steps))),
                    "grad_norm": 0.4 + np.exp(-step / 90) + rng.normal(0, 0.03, len(step)),
                    "nonfinite_steps": 0,
                }
            )
        )
    return pd.concat(frames)


def search(folder: Path, recipe: str, n: int = 12) -> None:
    rng = np.random.default_rng(5)
    rows = []
    for trial in range(n):
        ratio = 0.75 if trial == 0 else float(rng.uniform(0.3, 0.9))
        patch, width = int(rng.choice([4, 7])), int(rng.choice([64, 128]))
        for rung in range(1 if trial % 3 else 2):
            score = 0.62 + 0.1 * rung - (ratio - 0.68) ** 2 + 0.04 * (patch == 7) + rng.normal(0, 0.01)
            last = rung == 1
            rows.append(
                {
                    "trial": trial,
                    "rung": rung,
                    "origin": "default" if trial == 0 else "sampled",
                    "status": "failed" if trial == n - 1 else "complete" if last else "stopped",
                    "seed": 0,
                    "steps": 150 * (1 + 2 * rung),
                    "flops": 1.1e12 * (1 + 2 * rung) * float(rng.uniform(0.97, 1.03)),
                    "parameters": 180_000 if width == 64 else 900_000,
                    "score": None if trial == n - 1 else score,
                    "loss": 0.3 + 0.4 * ratio + rng.normal(0, 0.02),
                    "masking.ratio": ratio,
                    "masking.strategy": str(rng.choice(["random", "block", "grid"])),
                    "model.patch": patch,
                    "model.encoder.width": width,
                }
            )
    pd.DataFrame(rows).to_parquet(folder / "trials.parquet")
    chosen = {"masking.ratio": 0.68, "masking.strategy": "random", "model.encoder.width": 64, "model.patch": 7}
    (folder / "best.yaml").write_text(yaml.safe_dump(chosen))
    summary = {
        "schema": 1,
        "metric": "knn",
        "split": "validation",
        "trials": n,
        "keys": sorted(chosen),
        "default": {**chosen, "masking.ratio": 0.75},
        "winner": chosen,
        "chosen": "winner",
        "verdict": "the winner gains 0.021 over the defaults on 3 seeds, more than its standard error of 0.006",
        "confirm": {
            "seeds": [0, 1, 2],
            "default": [0.801, 0.806, 0.798],
            "winner": [0.822, 0.824, 0.822],
            "gain": 0.021,
            "standard_error": 0.006,
            "share": 1.0,
        },
        "importance": {
            "masking.ratio": 0.52,
            "model.patch": 0.31,
            "model.encoder.width": 0.12,
            "masking.strategy": 0.05,
        },
        "importance_n": n - 1,
        "rank_correlation": {"loss_with_score": -0.21, "n": n - 1},
        "flops": 4.1e13,
    }
    (folder / "search.json").write_text(json.dumps(summary))


def bank(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    masks = [{"name": f"random-{int(100 * r)}", "strategy": "random", "ratio": r, "seed": 0} for r in (0.5, 0.75, 0.9)]
    images, labels = glyphs(4, 9)
    for mask in masks:
        grid = np.concatenate([np.concatenate([i[0], i[0] // 2, i[0], 255 - i[0]], 1) for i in images])
        Image.fromarray(grid).save(folder / f"{mask['name']}.png")
    listed = [{"index": i, "split": "test", "label": int(x)} for i, x in enumerate(labels)]
    means = {m["name"]: {"psnr": 19.5 - 6 * float(m["ratio"]), "ssim": 0.8} for m in masks}
    (folder / "bank.json").write_text(json.dumps({"schema": 1, "images": listed, "masks": masks, "scores": means}))


def embeddings(n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    label = rng.integers(0, 10, n)
    angle = label / 10 * 2 * np.pi
    x, y = 9 * np.cos(angle) + rng.normal(0, 1.6, n), 9 * np.sin(angle) + rng.normal(0, 1.6, n)
    index = np.arange(n) % 60
    return pd.DataFrame(
        {
            "index": index,
            "split": "test",
            "label": label,
            "x": x,
            "y": y,
            "pca_x": x / 4 + rng.normal(0, 1, n),
            "pca_y": y,
        }
    )


def model_config(patch: int, ratio: float, target: str = "pixels") -> dict[str, object]:
    return {
        "modality": {
            "kind": "image",
            "channels": 1,
            "size": [SIDE, SIDE],
            "patch": patch,
            "mean": [0.11],
            "std": [0.27],
        },
        "encoder": {"kind": "vit", "width": 32, "depth": 2, "heads": 2},
        "decoder": {"kind": "joint", "width": 16, "depth": 1, "heads": 2},
        "masking": {"strategy": "random", "ratio": ratio},
        "objective": {"target": target, "reconstruction": 1.0},
        "provenance": {"dataset": "digits", "steps": 1200, "note": "synthetic: random weights, never trained"},
    }


def model(folder: Path, seed: int, patch: int = 7, ratio: float = 0.75, target: str = "pixels") -> None:
    """A real model folder with untrained weights."""
    from mae_core.model import MaskedAutoencoder

    built = MaskedAutoencoder.build(model_config(patch, ratio, target), seed=seed)
    built.save(folder, card="# Synthetic model\n\nRandom weights, made for tests.\n")


def pipeline(root: Path, recipes: dict[str, str]) -> None:
    """params.yaml, dvc.yaml and a dvc.lock in which all but the last recipe's evaluate has run."""
    params = {
        "datasets": sorted(set(recipes.values())),
        "recipes": {name: {"dataset": data, "modality": "image"} for name, data in recipes.items()},
        "transfers": {},
    }
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False, allow_unicode=True))
    reads = {
        "search": ["data/${item.dataset}"],
        "pretrain": ["data/${item.dataset}", "results/${key}/best.yaml"],
        "evaluate": ["models/${key}"],
    }
    per_recipe = {
        stage: {"foreach": "${recipes}", "do": {"cmd": "true", "deps": deps}} for stage, deps in reads.items()
    }
    stages = {"prepare": {"foreach": "${datasets}", "do": {"cmd": "true"}}, **per_recipe, "report": {"cmd": "true"}}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    locked: dict[str, dict[str, object]] = {}
    for data in params["datasets"]:
        locked[f"prepare@{data}"] = {"cmd": "true", "outs": [{"path": f"data/{data}", "md5": "d0.dir"}]}
    for i, (name, data) in enumerate(recipes.items()):
        dep = [{"path": f"data/{data}", "md5": "d0.dir"}]
        best, folder = f"results/{name}/best.yaml", f"models/{name}"
        locked[f"search@{name}"] = {"cmd": "true", "deps": dep, "outs": [{"path": best, "md5": "b0"}]}
        seen = [*dep, {"path": best, "md5": "b0"}]
        locked[f"pretrain@{name}"] = {"cmd": "true", "deps": seen, "outs": [{"path": folder, "md5": "m0.dir"}]}
        if i < len(recipes) - 1 or len(recipes) == 1:
            out = [{"path": f"results/{name}/scores.csv", "md5": "s0"}]
            locked[f"evaluate@{name}"] = {"cmd": "true", "deps": [{"path": folder, "md5": "m0.dir"}], "outs": out}
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": locked}, allow_unicode=True))


def heartbeat(root: Path, recipe: str, age: float = 1.0, state: str = "running", stage: str = "pretrain") -> Path:
    folder = root / "runs" / f"{stage}-{recipe}-0a1b2c"
    folder.mkdir(parents=True, exist_ok=True)
    beat = {
        "stage": stage, "recipe": recipe, "seed": 0, "step": 740, "steps": 1200, "loss": 0.41, "lr": 1.1e-3,
        "samples_per_s": 812.0, "data_wait": 0.03, "eta_s": 72.0, "time": time.time() - age, "state": state,
    }  # fmt: skip
    (folder / "heartbeat.json").write_text(json.dumps(beat))
    return folder


def recipe(root: Path, name: str, data: str, seeds: Sequence[int] = (0,), lift: float = 0.0, **made: object) -> None:
    """Everything one recipe leaves behind; `made` goes to `model`."""
    folder = root / "results" / name
    folder.mkdir(parents=True, exist_ok=True)
    scores(name, data, seeds, lift).to_csv(folder / "scores.csv", index=False)
    history(seeds, lift).to_csv(folder / "history.csv", index=False)
    search(folder, name)
    bank(folder / "reconstructions")
    embeddings().to_parquet(folder / "embeddings.parquet")
    (folder / "skipped.csv").write_text("task,reason\n")
    for seed in seeds:
        model(root / "models" / name / f"seed-{seed}", seed, **made)  # type: ignore[arg-type]
    timing = root / "runs" / f"pretrain-{name}-0a1b2c"
    timing.mkdir(parents=True, exist_ok=True)
    (timing / "timing.json").write_text(json.dumps({"seconds": 163.0, "samples_per_s": 812.0, "device": "cpu"}))


def transfer(root: Path, name: str, recipe: str, data: str, reason: str = "") -> None:
    """The scores of a recipe's models on another dataset, listed in params.yaml; ``reason`` stands in skipped.csv."""
    file, folder = root / "params.yaml", root / "results" / name
    params = yaml.safe_load(file.read_text())
    params["transfers"][name] = {"recipe": recipe, "dataset": data}
    file.write_text(yaml.safe_dump(params, sort_keys=False))
    folder.mkdir(parents=True)
    scores(name, data, (0,), 0.0).to_csv(folder / "scores.csv", index=False)
    (folder / "skipped.csv").write_text("task,reason\n" + (f'transfer,"{reason}"\n' if reason else ""))


def one_run(root: Path) -> Path:
    dataset(root, "digits5k")
    recipe(root, "digits", "digits5k")
    pipeline(root, {"digits": "digits5k"})
    return root


def many_runs(root: Path, n: int = 4) -> Path:
    """n recipes of three seeds; patch sizes and targets differ, one is running, one crashed."""
    dataset(root, "digits5k")
    names = ["digits", "digits_small_patch", "digits_norm", "digits_block", *(f"digits_{i}" for i in range(4, n))][:n]
    kinds = [{}, {"patch": 4, "ratio": 0.6}, {"target": "norm_pixels"}, {"ratio": 0.9}]
    for i, name in enumerate(names):
        recipe(root, name, "digits5k", (0, 1, 2), 0.012 * ((i * 5) % 4 - 1), **kinds[i % 4])
    pipeline(root, dict.fromkeys(names, "digits5k"))
    heartbeat(root, names[-1])
    if n > 2:
        heartbeat(root, names[-2], age=900, stage="evaluate")
    return root


if __name__ == "__main__":
    many_runs(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 4)
