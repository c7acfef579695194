"""Proxies of a trained trial: each is there, timed, and none of those beside the metric can fail a trial."""

import math

import numpy as np
import pytest
from search_project import make_dataset

from experiments import proxies
from experiments.goals import METRICS, OBJECTIVES, PROXIES, metric_words, needs_labels, oriented
from experiments.proxies import FeaturesNotFinite, Subject, measure_proxies
from experiments.trials import choose_metric
from mae_core.data.dataset import open_dataset
from mae_core.evaluation.features import extract
from mae_core.evaluation.rank import measure_rank, spectrum_slope
from mae_core.evaluation.ridge import ridge_accuracy
from mae_core.model import MaskedAutoencoder

CONFIG = {
    "modality": {"kind": "image", "channels": 1, "size": [16, 16], "patch": 4, "mean": [0.4], "std": [0.3]},
    "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
    "decoder": {"kind": "joint", "width": 8, "depth": 1, "heads": 2},
    "masking": {"strategy": "random", "ratio": 0.5},
    "objective": {"reconstruction": 1.0, "target": "pixels"},
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proxies") / "bars"
    make_dataset(folder)
    return open_dataset(folder)


@pytest.fixture
def subject(dataset):
    return Subject(MaskedAutoencoder.build(CONFIG, seed=0), dataset, "fp32")


def test_every_named_proxy_is_measured_and_timed(subject):
    assert list(proxies.MEASURES) == list(PROXIES)
    found = measure_proxies(subject, ["knn"], list(PROXIES))
    assert set(found.values) == set(found.seconds) == set(PROXIES)
    assert all(map(math.isfinite, found.values.values())) and all(took > 0 for took in found.seconds.values())
    assert measure_proxies(subject, ["knn"], list(PROXIES)).values == found.values


def test_they_are_the_measures_of_the_core_on_train_and_validation(subject, dataset):
    x, y = {}, {}
    for name in ("train", "validation"):
        x[name] = extract(subject.model, dataset.split(name).samples, precision="fp32")
        y[name] = np.asarray(dataset.split(name).labels)
    found = measure_proxies(subject, [], ["ridge", "rankme", "alpha_req"]).values
    assert found["ridge"] == ridge_accuracy(x["train"], y["train"], x["validation"], y["validation"])
    assert found["rankme"] == measure_rank(x["validation"]).effective_rank
    assert found["alpha_req"] == spectrum_slope(x["validation"])


def test_features_are_extracted_once_for_all(subject, monkeypatch):
    calls = []
    working = proxies.extract
    monkeypatch.setattr(proxies, "extract", lambda *a, **k: calls.append(len(a[1])) or working(*a, **k))
    measure_proxies(subject, ["knn"], ["ridge", "rankme", "alpha_req"])
    assert calls == [200, 100]


@pytest.mark.parametrize("problem", [ValueError("collapsed"), RuntimeError("out of memory")])
def test_what_stands_beside_the_metric_cannot_fail_a_trial(subject, monkeypatch, problem):
    def refuse(_: Subject) -> float:
        raise problem

    monkeypatch.setitem(proxies.MEASURES, "ridge", refuse)
    monkeypatch.setitem(proxies.MEASURES, "rankme", lambda _: math.nan)
    found = measure_proxies(subject, ["knn"], ["ridge", "rankme", "alpha_req"])
    assert set(found.values) == {"knn", "alpha_req"}
    with pytest.raises(type(problem), match=str(problem)):
        measure_proxies(subject, ["ridge"], [])


@pytest.mark.parametrize(("needed", "beside"), [(["knn"], []), ([], list(PROXIES)), (["explained"], ["rankme"])])
def test_features_that_are_not_finite_are_measured_by_nothing(subject, monkeypatch, needed, beside):
    """Neighbours of NaN have labels, and infinities a rank of 1."""

    def diverged(_, samples, **__):
        features = np.ones((len(samples), 8), np.float32)
        features[3, 2] = np.inf
        return features

    monkeypatch.setattr(proxies, "extract", diverged)
    with pytest.raises(FeaturesNotFinite, match=r"features of 1 of [12]00 (train|validation) samples are not finite"):
        measure_proxies(subject, needed, beside)


def test_a_metric_that_is_not_finite_is_kept_for_the_trial_to_fail(subject, monkeypatch):
    monkeypatch.setitem(proxies.MEASURES, "knn", lambda _: math.nan)
    assert math.isnan(measure_proxies(subject, ["knn"], []).values["knn"])


def test_directions():
    assert oriented("knn", 0.4) == 0.4 and oriented("loss", 0.4) == -0.4 and oriented("flops", 9.0) == -9.0
    assert oriented("alpha_req", 0.75) == oriented("alpha_req", 1.25) < oriented("alpha_req", 1.05)
    assert set(METRICS) == {*PROXIES, "label_free"} and not needs_labels("label_free") and needs_labels("ridge")
    assert all(metric_words(name) for name in METRICS) and set(PROXIES) < set(OBJECTIVES)


def test_the_metric_follows_the_recipe_and_the_labels(dataset, tmp_path):
    make_dataset(tmp_path / "bars", labelled=False)
    bare = open_dataset(tmp_path / "bars")
    wish = choose_metric(dataset, "ridge", tuple(PROXIES))
    assert wish.name == "ridge" and "100 validation samples" in wish.why and wish.beside == list(PROXIES)
    without = choose_metric(bare, "ridge", tuple(PROXIES))
    assert without.name == "label_free" and "a ridge score needs 50 labels" in without.why
    assert without.beside == ["explained", "lidar", "rankme", "alpha_req"]
    for data in (dataset, bare):
        assert choose_metric(data, "rankme").name == "rankme", "what needs no labels is taken at its word"


@pytest.mark.parametrize("target", ["hog", "norm_pixels"])
def test_what_fills_nothing_in_by_itself_is_ranked_by_lidar(target, dataset, tmp_path):
    make_dataset(tmp_path / "bars", labelled=False)
    bare = choose_metric(open_dataset(tmp_path / "bars"), "knn", tuple(PROXIES), target)
    assert bare.name == "lidar" and bare.beside == ["lidar", "rankme", "alpha_req"]
    assert bare.why.startswith("LiDAR over random masks: a k-NN score needs 50 labels") and target in bare.why
    for wanted in ("explained", "label_free"):
        found = choose_metric(dataset, wanted, tuple(PROXIES), target)
        assert found.name == "lidar" and found.why.endswith(f": target {target} has no variance explained")
    assert choose_metric(dataset, "knn", tuple(PROXIES), target).name == "knn", "what is not asked is not replaced"
