"""The study of architectures: every pair that fits at every size, rates chosen on validation, and the front is what nothing beats."""

import json
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from project import write_dataset

from benchmarks import architectures
from benchmarks.architecture_cases import OPTIONS, RATES, Case, Common, case, optional, pairs
from benchmarks.architectures import Outcome, Scores
from benchmarks.scatter import LINE, Point, draw, front, lines_of
from benchmarks.spread import TimeSpent
from mae_core.data.dataset import open_dataset
from mae_core.modalities.image import ImageModality
from mae_core.model import MaskedAutoencoder

SIZES = ("small", "medium", "large")


@pytest.fixture
def common(tmp_path):
    write_dataset(tmp_path, n=60)
    dataset = open_dataset(tmp_path / "data" / "tiny")
    modality = {"kind": "image", **ImageModality.configure(dataset.info, 4)}
    return Common(modality, 4, 8, "cpu", dataset.folder, dataset.fingerprint)


def made_up(one: Case) -> Outcome:
    """Best at the middle rate, and a little better at each seed."""
    scores = Scores(0.8 - abs(one.lr - RATES[1]) * 100 + one.seed / 100, 0.9)
    return Outcome(one.name, one.lr, one.seed, 1.0, 0.5, Scores(0.5, 0.6), scores, 2.0, "one core", 1e9, 10)


def test_every_pair_that_fits_and_every_option_is_a_model(common):
    networks = pairs(SIZES) | optional("small")
    assert "conv-unet medium" in networks and "vit-unet small" not in networks
    assert len(networks) == 3 * 10 + len(OPTIONS)
    for name, network in networks.items():
        MaskedAutoencoder.build(case(name, network, 1e-3, 0, common).config)
    files = {case(name, network, lr, 0, common).file for name, network in networks.items() for lr in RATES}
    assert len(files) == 3 * len(networks), "every case has a file of its own"


def test_another_device_or_dataset_is_another_file_and_another_folder_is_not(common, tmp_path):
    one = case("vit-joint small", pairs(["small"])["vit-joint small"], 1e-3, 0, common)
    moved = one._replace(common=common._replace(data=tmp_path / "elsewhere" / "tiny"))
    assert moved.file == one.file
    for changed in ({"device": "cuda"}, {"fingerprint": "of other labels"}, {"steps": 5}):
        assert one._replace(common=common._replace(**changed)).file != one.file


def test_seed_0_chooses_the_rate_of_the_others(common):
    asked = []

    def run(cases):
        asked.append(cases)
        return [made_up(one) for one in cases]

    found = architectures.sweep(["small"], 3, common, run, options=False)
    tried, rest = asked
    assert [one.lr for one in tried[:3]] == list(RATES) and {one.seed for one in tried} == {0}
    assert {one.lr for one in rest} == {RATES[1]} and {one.seed for one in rest} == {1, 2}
    assert [(one.name, one.seed) for one in found] == [(name, seed) for name in pairs(["small"]) for seed in range(3)]
    assert {one.lr for one in found} == {RATES[1]}


def test_options_are_trained_at_the_rate_of_their_pair(common):
    asked = []

    def run(cases):
        asked.append([one.name for one in cases])
        return [made_up(one) for one in cases]

    found = architectures.sweep(["small"], 1, common, run, options=True, only=["vit-joint small"])
    assert asked[0] == ["vit-joint small"] * 3
    assert asked[1] == [name for name in OPTIONS if name.startswith("vit-joint")], (
        "no option of a pair that was left out"
    )
    assert {one.lr for one in found} == {RATES[1]}


def test_a_sweep_goes_on_where_it_was(common, tmp_path, monkeypatch):
    measured = []
    real = architectures.measure
    monkeypatch.setattr(architectures, "measure", lambda one: measured.append(one.name) or real(one))
    run = partial(architectures.here, tmp_path / "out", 1)
    wanted = [case(name, pairs(["small"])[name], 1e-3, 0, common) for name in ("vit-linear small", "conv-unet small")]
    first = run(wanted[:1])
    both = run(wanted)
    assert measured == [one.name for one in wanted] and both[0] == first[0]
    assert run(wanted) == both and len(measured) == 2
    rows = architectures.rows_of(both, "command")
    assert [row.name for row in rows] == [
        f"{pair}_{what}_accuracy_vs_untrained"
        for what in ("knn", "linear")
        for pair in ("vit-linear_small", "conv-unet_small")
    ]
    assert all(0 <= row.ours <= 1 and row.facts["seconds"] > 0 and row.facts["gflop"] > 0 for row in rows)
    assert rows[0].low is None and rows[0].n == 1, "one seed has no interval"
    architectures.picture(both, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "out" / wanted[0].file).read_text())["clock"] == "one core"


def test_workers_measure_what_one_process_does(common, tmp_path):
    wanted = [case("conv-joint small", pairs(["small"])["conv-joint small"], 1e-3, seed, common) for seed in (0, 1)]
    alone = architectures.here(tmp_path / "alone", 1, wanted)
    shared = architectures.here(tmp_path / "shared", 2, wanted)
    assert [one._replace(seconds=0) for one in shared] == [one._replace(seconds=0) for one in alone]
    assert {path.name for path in (tmp_path / "shared").iterdir()} == {one.file for one in wanted}


def test_the_time_ends_a_study_that_goes_on_later(common, tmp_path):
    done, late = (case("conv-joint small", pairs(["small"])["conv-joint small"], 1e-3, seed, common) for seed in (0, 1))
    architectures.here(tmp_path, 1, [done])
    with pytest.raises(TimeSpent, match=f"1 of 2 trainings are done and kept in {tmp_path}. Start the same command"):
        architectures.here(tmp_path, 1, [done, late], until=0.0)
    assert [one.seed for one in architectures.here(tmp_path, 1, [done, late])] == [0, 1]


def test_three_seeds_have_an_interval(common):
    one = made_up(Case("a", {}, RATES[1], 0, common))
    later = [one._replace(seed=seed, pretrained=Scores(0.8 + seed / 20, 0.9)) for seed in range(3)]
    row, linear = architectures.rows_of(later, "command")
    assert row.n == 3 and row.low < row.ratio < row.high
    assert row.ours == pytest.approx(0.85) and row.ratio == pytest.approx(1.7)
    assert linear.ours == pytest.approx(0.9) and linear.baseline == pytest.approx(0.6)


def test_the_front_is_what_nothing_beats():
    points = [Point("a", 1, 0.5), Point("b", 2, 0.4), Point("c", 2, 0.7), Point("d", 3, 0.7), Point("e", 9, 0.9)]
    assert [point.name for point in front(points)] == ["a", "c", "e"]
    image = draw(points, "seconds", "accuracy")
    assert image.shape == (460, 900, 3) and image.dtype == np.uint8
    assert not np.array_equal(image, draw(points[:2], "seconds", "accuracy"))
    with pytest.raises(ValueError, match="nothing was measured"):
        draw([], "seconds", "accuracy")


def test_names_of_near_points_stand_below_each_other():
    dots = [(100.0, 50.0), (103.0, 51.0), (101.0, 50.0), (300.0, 50.0)]
    heights = lines_of(dots, [40.0] * 4)
    assert heights[3] == 50.0, "far away there is room beside the point"
    near = sorted(heights[:3])
    assert all(high - low >= LINE for low, high in pairwise(near))


@pytest.fixture
def study(common, tmp_path, monkeypatch):
    """Runs the command on 60 pictures: what it published, by name. What is measured is made up, and what is ``bad`` cannot be."""
    measured, bad = [], set()

    def measure(one):
        measured.append((one.name, one.lr, one.seed))
        if (one.name, one.lr) in bad or (one.name, one.seed) in bad:
            raise ValueError("no finite gradient")
        return made_up(one)

    def run(*arguments):
        asked = ["--sizes", "small", "--seeds", "2", "--root", str(tmp_path), "--out", str(tmp_path / "out")]
        architectures.main([*asked, *arguments])
        return {path.stem: json.loads(path.read_text())["rows"] for path in (tmp_path / "out").glob("*.json")}

    monkeypatch.setattr(architectures, "measure", measure)
    monkeypatch.setattr(architectures, "prepared", lambda name, root: open_dataset(root / "data" / "tiny"))
    return run, measured, bad


def test_some_alone_have_a_table_of_their_own_and_misspelt_ones_none(study, tmp_path, capsys):
    run, measured, _ = study
    with pytest.raises(SystemExit):
        run("--only", "conv-unit small")
    assert "--only conv-unit small: the architectures of these sizes are" in capsys.readouterr().err
    (found,) = run("--only", "conv-unet small").items()
    assert found[0] == "architectures-mnist5k-sizes-small-only-conv-unet_small"
    assert found[1][0]["command"].endswith("--sizes small --seeds 2 --steps 2000 --batch 32 --only 'conv-unet small'")
    assert {row["facts"]["split"] for row in found[1]} == {"validation"}
    once = len(measured)
    run("--only", "conv-unet small")
    assert len(measured) == once
    write_dataset(tmp_path, n=60, labels=np.roll(np.arange(60) % 3, 1))
    run("--only", "conv-unet small")
    assert len(measured) == 2 * once, "other labels, other trainings"


def test_what_cannot_be_trained_is_named_and_in_no_mean(study):
    run, measured, bad = study
    bad |= {("conv-unet small", RATES[1]), ("conv-joint small", 1), *(("vit-linear small", rate) for rate in RATES)}
    (rows,) = run("--only", "conv-unet small", "conv-joint small", "vit-linear small").values()
    facts = {row["name"].partition("_small")[0]: row for row in rows}
    assert set(facts) == {"conv-unet", "conv-joint"}
    assert facts["conv-unet"]["facts"]["lr"] != RATES[1] and facts["conv-unet"]["n"] == 2
    assert facts["conv-joint"]["n"] == 1
    told = facts["conv-joint"]["facts"]["stopped"]
    assert "conv-joint small rate 0.002 seed 1" in told and told.count("vit-linear small") == 3 and "unet" not in told
    assert ("vit-linear small", RATES[0], 1) not in measured, "nobody trains more seeds of it"
    bad |= {("conv-unet small", rate) for rate in RATES} | {("conv-unet small", 0)}
    with pytest.raises(RuntimeError, match=r"none could be trained: conv-unet small rate 0\.001 seed 0"):
        run("--only", "conv-unet small", "--steps", "5")
