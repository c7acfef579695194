"""One trial: trained, scored on validation, repeatable, and never an exception where its setting is at fault."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from search_project import make_dataset

from experiments import proxies, trials
from experiments.trials import Work, choose_metric, measure
from mae_core.data.dataset import open_dataset
from mae_core.training.loop import Settings


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled") / "bars"
    make_dataset(folder)
    return folder


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unlabelled") / "bars"
    make_dataset(folder, labelled=False)
    return folder


def work(folder: Path, metric: str = "knn", encoder: dict[str, Any] | None = None, **settings: Any) -> Work:
    config = {
        "modality": {"kind": "image", "channels": 1, "size": [16, 16], "patch": 4, "mean": [0.4], "std": [0.3]},
        "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2, **(encoder or {})},
        "decoder": {"kind": "joint", "width": 8, "depth": 1, "heads": 2},
        "masking": {"strategy": "random", "ratio": 0.5},
        "objective": {"reconstruction": 1.0, "target": "pixels"},
    }
    whole = Settings(**{"steps": 30, "batch_size": 16, "lr": 0.002, **settings})
    return json.loads(json.dumps(Work(config, asdict(whole), str(folder), metric, None)._asdict()))


def measured(folder: Path, metric: str = "knn", **settings: Any) -> trials.Measured:
    return measure(Work(**work(folder, metric, **settings)))


def test_a_trial_is_repeatable_and_depends_on_its_seed(bars: Path) -> None:
    first, again, other = measured(bars), measured(bars), measured(bars, seed=1)
    assert not first.failure and 0 <= first.measures["knn"] <= 1
    assert first._replace(seconds=0, proxy_seconds={}) == again._replace(seconds=0, proxy_seconds={})
    assert other.loss != first.loss
    assert first.parameters > 1000 and first.loss is not None and first.loss > 0


def test_training_lowers_the_loss(bars: Path) -> None:
    brief, long = measured(bars, steps=2).loss, measured(bars, steps=300, lr=0.01).loss
    assert brief and long and long < 0.9 * brief


def test_a_diverging_trial_comes_back_with_its_reason(bars: Path) -> None:
    found = measured(bars, lr=1e30)
    assert found.measures == {} and found.failure.startswith("TrainingDiverged") and found.parameters


@pytest.mark.parametrize("steps", [3, 8])
def test_a_trial_that_diverges_in_its_last_steps_is_a_failure(bars: Path, steps: int) -> None:
    """Too late for eleven bad steps in a row, after which a training is given up."""
    found = measured(bars, steps=steps, lr=1e30, warmup=0.0)
    assert found.measures == {} and found.proxies == {} and found.failure.endswith("the training diverged")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_are_a_failure(bars: Path, monkeypatch: pytest.MonkeyPatch, bad: float) -> None:
    monkeypatch.setattr(proxies, "extract", lambda _, samples, **__: np.full((len(samples), 4), bad, np.float32))
    for metric in ("knn", "rankme"):
        found = measured(bars, metric, steps=2)
        assert found.measures == {} and "samples are not finite: the training diverged" in found.failure


def test_a_model_that_cannot_be_built_comes_back_with_its_reason(bars: Path) -> None:
    found = measured(bars, encoder={"heads": 3})
    assert found.measures == {} and found.failure.startswith("ValueError") and "\n" not in found.failure


@pytest.mark.parametrize(
    "problem", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError("no room"), OSError("gone")]
)
def test_want_of_memory_is_a_failed_trial(bars: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise problem

    monkeypatch.setattr(trials, "fit", refuse)
    found = measured(bars)
    assert str(problem) in found.failure and found.measures == {} and found.loss is None


def test_a_mistake_in_the_code_is_named(bars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "fit", None)
    assert measured(bars).failure.startswith("TypeError: 'NoneType'")


def test_a_score_that_is_not_finite_is_a_failure(bars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(proxies.MEASURES, "knn", lambda *_: float("nan"))
    found = measured(bars)
    assert found.failure == "knn is not finite" and found.measures == {}


def test_averaged_weights_are_what_is_scored(bars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def look(subject: proxies.Subject) -> float:
        seen[len(seen)] = torch.cat([p.flatten() for p in subject.model.parameters()]).clone()
        return 0.5

    monkeypatch.setitem(proxies.MEASURES, "knn", look)
    measured(bars)
    measured(bars, ema=0.9)
    assert not torch.equal(seen[0], seen[1])


def test_a_trial_can_start_from_a_model_folder(bars: Path, tmp_path: Path) -> None:
    from mae_core.model import MaskedAutoencoder

    plain = Work(**work(bars, steps=1, lr=1e-8, warmup=0.0))
    torch.manual_seed(0)
    model = MaskedAutoencoder.build(plain.config, seed=9)
    model.save(tmp_path / "seed-9", {})
    fresh, begun = measure(plain), measure(plain._replace(init_from=str(tmp_path / "seed-9")))
    assert not begun.failure and begun.loss != fresh.loss
    assert "gone" in measure(plain._replace(init_from=str(tmp_path / "gone"))).failure


def test_labels_decide_the_metric(bars: Path, unlabelled: Path) -> None:
    with_labels, without = choose_metric(open_dataset(bars)), choose_metric(open_dataset(unlabelled))
    assert (with_labels.name, without.name) == ("knn", "label_free")
    assert "100 validation samples" in with_labels.why and "there are 0 and 0" in without.why


def test_label_free_scores_are_repeatable(unlabelled: Path) -> None:
    first, again = measured(unlabelled, "label_free"), measured(unlabelled, "label_free")
    assert not first.failure and set(first.measures) == {"lidar", "explained"}
    assert first.measures == again.measures and all(np.isfinite(list(first.measures.values())))


def test_a_dataset_that_is_gone_is_a_reason(tmp_path: Path) -> None:
    assert "holds no prepared dataset" in measured(tmp_path / "nothing").failure
