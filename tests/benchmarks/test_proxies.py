"""The proxies benchmark: its lists, its cells that go on where they stopped, and its arithmetic."""

import json
import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from search_project import make_project

from benchmarks import proxies
from benchmarks.proxies import Bench, Cell, Course, Measured, against_hand, cost, opened, planned, ranking
from benchmarks.spread import TimeSpent
from benchmarks.training import recipe_with
from benchmarks.variants import unpacked
from experiments.recipe import Recipe, SearchSection
from experiments.resolving import SEARCHABLE, resolve
from experiments.space import unbuildable
from mae_core.model import MaskedAutoencoder
from mae_core.training.loop import TrainingDiverged

LISTS = yaml.safe_load(proxies.LISTED.read_text())


def test_the_lists_are_what_they_are_said_to_be():
    assert len(LISTS["listed"]) == 24 and len(LISTS["handmade"]) == 20
    for one in (LISTS["listed"], LISTS["handmade"]):
        assert len({json.dumps(each, sort_keys=True) for each in one}) == len(one)
        assert {key for each in one for key in each} <= set(SEARCHABLE)
    assert len({one["masking.ratio"] for one in LISTS["listed"]}) == 6


@pytest.fixture
def bench(tmp_path):
    root = make_project(tmp_path, pretrain={"steps": 40, "lr": 0.002})
    return Bench(Course(root, "tiny", 40), tmp_path / "out")


SMALL = {"masking.ratio": 0.5, "model.encoder.width": 64, "model.encoder.depth": 3}


def test_every_listed_value_is_used_whatever_the_recipe_pins(bench):
    of = opened(bench.course)
    for one in (*LISTS["listed"], *LISTS["handmade"]):
        found = resolve(of.recipe, of.dataset.info, one, "image")
        assert {key: found.values[key].value for key in one} == one
        assert unbuildable(found.config) == ""


def test_a_cell_is_trained_once_and_read_again_whatever_else_is_asked_for(bench):
    cell = bench.cell(SMALL, 0.1)
    first, second = bench.run([cell, cell])
    assert first == second and math.isnan(first.test) and first.steps < 40
    assert {"knn", "loss", "lidar"} <= set(first.proxies)
    asked = []
    again = bench._replace(measure=lambda cell: asked.append(cell) or formula(cell))
    assert again.run([cell, cell._replace(seed=1)])[0] == first and asked == [cell._replace(seed=1)]


def test_processes_share_what_is_missing(bench):
    cells = [bench.cell(SMALL, 0.1, seed) for seed in (0, 1)]
    alone, shared = bench.run(cells), bench._replace(folder=bench.folder / "shared", workers=2).run(cells)
    assert [one.proxies["loss"] for one in alone] == pytest.approx([one.proxies["loss"] for one in shared], rel=1e-4)


def test_the_time_ends_a_comparison_that_goes_on_later(bench):
    cells = [bench.cell(SMALL, 0.1, seed) for seed in (0, 1)]
    bench = bench._replace(measure=formula)
    bench.run(cells[:1])
    with pytest.raises(TimeSpent, match=r"1 of 2 trainings are done .* or give it more --most-minutes"):
        bench._replace(until=0.0).run(cells)
    assert len(bench.run(cells)) == 2


def test_short_trainings_may_have_smaller_batches_and_see_as_many_samples(bench):
    small = bench._replace(course=bench.course._replace(batch=4, rate=0.5))
    whole, found = bench.cell(SMALL, 0.25), small.cell(SMALL, 0.25)
    assert whole.file != found.file
    usual, settings = planned(whole).settings, planned(found).settings
    assert (usual.batch_size, settings.batch_size) == (16, 4) and settings.lr == pytest.approx(usual.lr / 2)
    assert settings.steps == pytest.approx(4 * usual.steps, abs=4)
    assert small.run([found])[0].flops == pytest.approx(bench.run([whole])[0].flops, rel=0.2)


def test_a_whole_run_is_probed_on_test(bench):
    (found,) = bench.run([bench.cell({"model.encoder.width": 64, "model.encoder.depth": 3}, 1.0)])
    assert 0.25 < found.test <= 1 and 0.25 < found.validation <= 1, "better than chance on four kinds of bars"
    n = len(opened(bench.course).dataset.split("test").labels)
    assert unpacked(found.hits, n).mean() == pytest.approx(found.test)


def formula(cell: Cell) -> str:
    """Proxies see the truth, the loss its opposite."""
    truth = 0.5 + 0.3 * cell.chosen.get("masking.ratio", 0.75) + 0.01 * cell.seed
    values = dict.fromkeys(("knn", "ridge", "explained", "lidar", "rankme"), truth)
    proxies = {**values, "alpha_req": 1.0, "loss": truth}
    hits = np.packbits(np.arange(1024) * 0.618 % 1 < truth).tobytes().hex()
    return json.dumps(Measured(proxies, truth, truth - 0.1, cell.share, 1e6, 10, 5, 1.0, hits)._asdict())


def test_rows_hold_correlation_regret_and_the_loss_beside_it(bench):
    told = bench._replace(measure=formula)
    rows = {row.name: row for row in ranking(told, LISTS["listed"], told)}
    knn = rows["knn_at_a_tenth_rank_correlation_vs_training_loss"]
    assert knn.ours == pytest.approx(1) and knn.baseline == pytest.approx(-1) and knn.n == 24
    assert knn.facts["regret_points"] == 0 and knn.facts["seed_sd_points"] == pytest.approx(1.0)
    loss = rows["loss_at_a_tenth_rank_correlation"]
    assert loss.ours == pytest.approx(-1) and loss.facts["regret_points"] == pytest.approx(100 * 0.3 * 0.6)
    assert not any(name.startswith("alpha_req") for name in rows), "a proxy that never changes ranks nothing"
    both = rows["label_free_at_a_tenth_rank_correlation_vs_training_loss"]
    assert both.ours == pytest.approx(1), "the mean rank of two that see the truth"


def test_the_automatic_pick_stands_beside_the_best_by_hand_with_both_costs(bench):
    costs = []
    for name, rules in LISTS["searches"].items():
        told, searched = bench._replace(measure=formula), SearchSection(space="tiny", **rules)
        row = against_hand(told, LISTS["handmade"], LISTS["space"], name, searched)
        assert row.baseline == pytest.approx(0.5 + 0.3 * 0.9 + 0.02) and row.facts["theirs_final_runs"] == 20
        assert row.facts["gain"] == pytest.approx(row.ours - row.baseline, abs=1e-4) and row.n == 5
        assert row.facts["over_items"] == pytest.approx(row.facts["gain"], abs=0.05), "of which samples were right"
        assert row.facts["over_items_low"] <= row.facts["over_items"] <= row.facts["over_items_high"]
        assert "0.9" in row.facts["by_hand"] and name in row.name
        costs.append(row.facts["ours_final_runs"])
    assert 0 < costs[0] < costs[1] < costs[2] < 20, "less than what the twenty cost, its final run included"
    assert cost([SearchSection(**rules) for rules in LISTS["searches"].values()], 24, 20) > 40
    assert cost([], 24, 0) == pytest.approx(24 * 1.1 + 2) and cost([SearchSection()], 0, 20) > 20


def failing(bad):
    """``formula``, but for cells of which ``bad`` says that they cannot be trained."""

    def measure(cell):
        if bad(cell):
            raise TrainingDiverged("no finite gradient")
        return formula(cell)

    return measure


def test_a_configuration_that_cannot_be_trained_is_left_out_and_named(bench):
    first, *rest = LISTS["listed"]
    told = bench._replace(
        measure=failing(lambda cell: cell.chosen == rest[0] or (cell.chosen, cell.seed) == (first, 2))
    )
    rows = {row.name: row for row in ranking(told, LISTS["listed"], told)}
    knn = rows["knn_at_a_tenth_rank_correlation_vs_training_loss"]
    assert knn.ours == pytest.approx(1) and knn.n == 23 and knn.facts["failed"] == [str(rest[0])]
    assert knn.facts["seed_sd_points"] == pytest.approx(100 * 0.01 / 2**0.5), "of the two seeds that are left"
    none = bench._replace(measure=failing(lambda cell: True), folder=bench.folder / "none")
    with pytest.raises(RuntimeError, match="no configuration could be trained at both lengths"):
        list(ranking(none, LISTS["listed"], none))


def test_seeds_that_cannot_be_trained_are_in_no_pair(bench):
    (name, rules), best = (
        next(iter(LISTS["searches"].items())),
        max(LISTS["handmade"], key=lambda one: one["masking.ratio"]),
    )
    told = bench._replace(
        measure=failing(lambda cell: (cell.chosen, cell.seed) == (best, 3) or cell.chosen == LISTS["handmade"][2])
    )
    row = against_hand(told, LISTS["handmade"], LISTS["space"], name, SearchSection(space="tiny", **rules))
    assert row.facts["by_hand"] == str(best) and row.n == 4 and row.facts["failed_seeds"] == [3]
    worse = told._replace(
        measure=failing(lambda cell: cell.chosen == best and cell.seed), folder=bench.folder / "worse"
    )
    row = against_hand(worse, LISTS["handmade"], LISTS["space"], name, SearchSection(space="tiny", **rules))
    assert row.n == 1 and row.facts["gain_low"] is None


def test_a_trial_that_fails_is_one_of_the_search_that_has_no_score(bench):
    found = proxies._outcome(None, proxies.read_measured(json.dumps({"problem": "it diverged"})), SearchSection())
    assert found.failure == "it diverged" and not found.measures and found.loss is None


def test_other_labels_are_another_cell_and_a_training_is_given_them(bench, tmp_path, monkeypatch):
    other = tmp_path / "other"
    shutil.copytree(bench.course.root / "data", other / "data")
    for name in ("params.yaml", "experiments"):
        copy = shutil.copytree if (bench.course.root / name).is_dir() else shutil.copy
        copy(bench.course.root / name, other / name)
    info = json.loads((other / "data" / "bars" / "dataset.json").read_text())
    (other / "data" / "bars" / "dataset.json").write_text(json.dumps({**info, "fingerprint": "of other labels"}))
    moved = bench.cell(SMALL, 0.1)._replace(course=bench.course._replace(root=other))
    assert planned(moved).config == planned(bench.cell(SMALL, 0.1)).config and moved.file != bench.cell(SMALL, 0.1).file
    fit, given = proxies.fit, []
    monkeypatch.setattr(
        proxies, "fit", lambda *_, labels, **more: given.append(labels) or fit(*_, labels=labels, **more)
    )
    bench.run([bench.cell(SMALL, 0.1)])
    assert np.array_equal(given[0], opened(bench.course).dataset.split("train").labels)


def test_a_training_begins_where_the_recipe_says(tmp_path):
    root = make_project(tmp_path, pretrain={"steps": 40, "init_from": "models/saved"})
    chosen = {"masking.ratio": 0.6}
    cell = Bench(Course(root, "tiny", 40), tmp_path / "out").cell(chosen, 0.1)
    plain = recipe_with(opened(cell.course).recipe, {"pretrain.init_from": None})
    config = resolve(plain, opened(cell.course).dataset.info, chosen, "image").config
    saved = MaskedAutoencoder.build(config, 7)
    folder = saved.save(root / "models" / "saved")
    begun, before = planned(cell).begin().model.state_dict(), cell.file
    assert all(np.array_equal(begun[name], weight) for name, weight in saved.state_dict().items())
    MaskedAutoencoder.build(config, 8).save(folder)
    assert cell.file != before


@pytest.mark.parametrize(
    ("arguments", "name", "command"),
    [
        ([], "proxies-digits", "--recipe digits"),
        (["--steps", "50", "--first", "2"], "proxies-digits-steps-50-first-2", "--steps 50 --first 2"),
        (["--ranking-alone"], "proxies-digits-ranking-alone", "--ranking-alone"),
        (["--search", "whole_trials"], "proxies-digits-search-whole_trials", "--search whole_trials"),
        (["--short-batch", "32"], "proxies-digits-short-batch-32", "--short-batch 32"),
    ],
)
def test_other_questions_have_tables_of_their_own(arguments, name, command, monkeypatch):
    published, ranked, searched = [], [], []
    row = proxies.Row("a", 1.0, None, None, None, None, 1, proxies.COMMAND)
    monkeypatch.setattr(proxies, "opened", lambda course: SimpleNamespace(recipe=Recipe()))
    monkeypatch.setattr(proxies, "ranking", lambda _, some, *__: ranked.append(len(some)) or [row])
    monkeypatch.setattr(proxies, "against_hand", lambda *told: searched.append(told[3]) or row)
    monkeypatch.setattr(proxies, "publish", lambda *told: published.append(told))
    proxies.main(arguments)
    ((table, rows),) = published
    assert table == name and all(command in row.command for row in rows)
    assert bool(ranked) == ("--search" not in arguments)
    alone = {"--ranking-alone", "--short-batch"} & {*arguments}
    assert searched == (arguments[1:] if not ranked else [] if alone else list(LISTS["searches"]))
