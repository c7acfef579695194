"""The planted task is what it says, and a run that was stopped goes on from what it kept."""

import json

import numpy as np
import pytest

from benchmarks import learned_masks, masks
from benchmarks.learned_masks import Cell
from benchmarks.planted import CELL, GRID, planted
from mae_core.masking import MASKERS


def cells(pictures):
    """(n, 49, 16) pixels of cells."""
    n = len(pictures.samples)
    return pictures.samples.reshape(n, GRID, CELL, GRID, CELL).swapaxes(2, 3).reshape(n, GRID**2, CELL**2).astype(int)


def test_telling_cells_hold_the_class_and_nothing_else_does():
    pictures = planted(300, 3, seed=1)
    assert (pictures.telling.sum(1) == 4).all() and (pictures.noise.sum(1) == 3).all()
    assert not (pictures.telling & pictures.noise).any()
    looks = cells(pictures)
    for label in range(10):
        rows = np.flatnonzero(pictures.labels == label)
        of_class = {tuple(sorted(map(tuple, looks[row][pictures.telling[row]]))) for row in rows}
        assert len(rows) > 10 and len(of_class) == 1, "the same textures in every picture of a class"
    rest = looks[~pictures.telling & ~pictures.noise]
    assert np.ptp(rest, axis=1).max() < 40 < np.ptp(looks[pictures.telling], axis=1).min()
    noise = looks[pictures.noise]
    assert set(np.unique(noise)) == {0, 255} and abs(noise.mean() / 255 - 0.5) < 0.01
    assert len({tuple(one) for one in noise}) > 0.95 * len(noise), "no two alike, so nothing to learn"


def test_other_seeds_have_the_same_textures_elsewhere():
    a, b = planted(100, 0, 1), planted(100, 0, 2)
    first = {tuple(one) for one in cells(a)[a.telling]}
    assert first == {tuple(one) for one in cells(b)[b.telling]} and (a.telling != b.telling).any()


def test_random_masks_show_as_many_telling_cells_as_there_are_places(tmp_path):
    (found,) = learned_masks.run([Cell("noisy", "random", 0, 2)], tmp_path)["noisy", "random"]
    share = learned_masks.VISIBLE / GRID**2
    assert found["telling_visible"] == pytest.approx(share, abs=0.03)
    assert found["noise_visible"] == pytest.approx(share, abs=0.03)


def test_what_was_kept_is_not_trained_again_unless_the_question_is_another(tmp_path, monkeypatch):
    kept, cell = {"telling_visible": 0.5, "cpu_s": 1.0}, Cell("clean", "probe", 7, 2)
    (tmp_path / cell.file).write_text(json.dumps(kept))
    assert learned_masks.run([cell], tmp_path) == {("clean", "probe"): [kept]}
    before = cell.file
    monkeypatch.setitem(learned_masks.POLICIES, "probe", {"reward": "probe", "random": 0.2})
    assert cell.file != before != Cell("noisy", "probe", 7, 2).file


def test_what_could_not_be_trained_says_why(tmp_path):
    cell = Cell("clean", "probe", 7, 2)
    (tmp_path / cell.file).write_text(json.dumps({"problem": "TrainingDiverged: at step 1"}))
    with pytest.raises(RuntimeError, match=rf"TrainingDiverged: at step 1; remove .*{cell.file}"):
        learned_masks.run([cell], tmp_path)


def test_a_policy_that_no_asked_pictures_train_is_refused(capsys):
    with pytest.raises(SystemExit):
        learned_masks.main(["--kinds", "clean", "--policies", "high_error"])
    assert "--kinds clean trains no high_error" in capsys.readouterr().err


def test_rows_stand_beside_random_masks():
    def found(*shares):
        return [{"telling_visible": share, "cpu_s": 3.0} for share in shares]

    results = {("clean", "random"): found(0.1, 0.1), ("clean", "probe"): found(0.8, 0.6)}
    _, ours = learned_masks.rows_of(results, "x")
    assert (ours.name, ours.n) == ("clean_probe_telling_cells_visible", 2)
    assert ours.ours == pytest.approx(0.7) and ours.ratio == pytest.approx(7)
    assert ours.facts == {"worst seed": 0.6, "CPU seconds": 3.0}


def test_every_mask_is_timed_beside_the_random_one():
    found = masks.rows(2, "x", lambda name, step: 2.0 if name == "random" else 3.0)
    assert [row.name for row in found] == [f"mask_{name}_vs_random_ms_per_256x64_cells" for name in MASKERS]
    assert found[0].ratio == 1 and found[1].ratio == 1.5 and found[1].n == 2
    assert all(masks.timed(strategy, 0) > 0 for strategy in MASKERS)


def test_some_policies_alone_leave_the_whole_table_as_it_is(tmp_path, monkeypatch):
    published = []
    monkeypatch.setattr(learned_masks, "publish", lambda name, rows, out: published.append((name, rows[0].command)))
    found = {"telling_visible": 0.5, "noise_visible": 0.1, "cpu_s": 1.0}
    monkeypatch.setattr(learned_masks, "train", lambda _: json.dumps(found))
    learned_masks.main(["--kept", str(tmp_path)])
    learned_masks.main(["--kept", str(tmp_path), "--kinds", "clean", "--policies", "probe"])
    learned_masks.main(["--kept", str(tmp_path), "--kinds", "clean"])
    names = ["learned_masks", "learned_masks-kinds-clean-policies-probe", "learned_masks-kinds-clean"]
    assert [name for name, _ in published] == names
    assert "--seeds 3 --steps 400 --kinds clean --policies probe" in published[1][1]
