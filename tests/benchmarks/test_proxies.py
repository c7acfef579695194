"""The proxies benchmark: its lists, its cells that go on where they stopped, and its arithmetic."""

import json

import pytest
import yaml
from search_project import make_project

from benchmarks import proxies
from benchmarks.proxies import Bench, Cell, Measured, against_hand, cost, opened, ranking
from experiments.recipe import SearchSection
from experiments.resolving import SEARCHABLE, resolve
from experiments.space import unbuildable

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
    return opened("tiny", 40, root, tmp_path / "out")


def test_every_listed_value_is_used_whatever_the_recipe_pins(bench):
    for one in (*LISTS["listed"], *LISTS["handmade"]):
        found = resolve(bench.recipe, bench.dataset.info, one, "image")
        assert {key: found.values[key].value for key in one} == one
        assert unbuildable(found.config) == ""


def test_a_cell_is_trained_once_and_read_again(bench, monkeypatch):
    cell = Cell({"masking.ratio": 0.5, "model.encoder.width": 64, "model.encoder.depth": 3}, 0.1, 0)
    first = bench.get(cell)
    assert first.test is None and first.steps < 40 and {"knn", "loss", "lidar"} <= set(first.proxies)
    with bench.ledger.open("a") as file:
        file.write('{"cell": {"chosen"')  # killed inside a line
    again = opened("tiny", 40, bench.dataset.folder.parents[1], bench.ledger.parent)
    monkeypatch.setattr(proxies, "fit", None)
    assert again.get(cell) == first
    with pytest.raises(TypeError):
        again.get(cell._replace(seed=1))


def test_short_trainings_may_have_smaller_batches_and_see_as_many_samples(bench):
    root, out = bench.dataset.folder.parents[1], bench.ledger.parent
    cell = Cell({"masking.ratio": 0.5, "model.encoder.width": 64, "model.encoder.depth": 3}, 0.25, 0)
    small = opened("tiny", 40, root, out, batch=4, rate=0.5)
    assert small.ledger.name == "proxies-tiny-40-batch-4-rate-0.5.jsonl"
    whole, found = bench.get(cell), small.get(cell)
    assert found.steps == pytest.approx(4 * whole.steps, abs=4) and found.flops == pytest.approx(whole.flops, rel=0.2)
    assert small.recipe.pretrain.batch_size == 4 and bench.recipe.pretrain.batch_size == 16


def test_a_whole_run_is_probed_on_test(bench):
    test, validation = bench.final({"model.encoder.width": 64, "model.encoder.depth": 3})
    assert 0.25 < test <= 1 and 0.25 < validation <= 1, "better than chance on four kinds of bars"


class Known(dict):
    """Cells by a formula: proxies see the truth through noise, the loss sees its opposite."""

    def __contains__(self, name):
        return True

    def __getitem__(self, name):
        chosen, share, seed = json.loads(name)
        truth = 0.5 + 0.3 * chosen.get("masking.ratio", 0.75) + 0.01 * seed
        values = dict.fromkeys(("knn", "ridge", "explained", "lidar", "rankme"), truth)
        return Measured({**values, "alpha_req": 1.0, "loss": truth}, truth, truth - 0.1, 1.0 * share, 1e6, 10, 5, 1.0)


def formula(bench: Bench) -> Bench:
    return bench._replace(known=Known())


def test_rows_hold_correlation_regret_and_the_loss_beside_it(bench):
    rows = {row.name: row for row in ranking(formula(bench), LISTS["listed"], formula(bench))}
    knn = rows["knn_at_a_tenth_rank_correlation_vs_training_loss"]
    assert knn.ours == pytest.approx(1) and knn.baseline == pytest.approx(-1) and knn.n == 24
    assert knn.facts["regret_points"] == 0 and knn.facts["seed_sd_points"] == pytest.approx(1.0)
    loss = rows["loss_at_a_tenth_rank_correlation"]
    assert loss.ours == pytest.approx(-1) and loss.facts["regret_points"] == pytest.approx(100 * 0.3 * 0.6)
    assert not any(name.startswith("alpha_req") for name in rows), "a proxy that never changes ranks nothing"


def test_the_automatic_pick_stands_beside_the_best_by_hand_with_both_costs(bench):
    costs = []
    for name, rules in LISTS["searches"].items():
        row = against_hand(
            formula(bench), LISTS["handmade"], LISTS["space"], name, SearchSection(space="tiny", **rules)
        )
        assert row.baseline == pytest.approx(0.5 + 0.3 * 0.9 + 0.02) and row.facts["theirs_final_runs"] == 20
        assert row.facts["gain"] == pytest.approx(row.ours - row.baseline, abs=1e-4) and row.n == 5
        assert "0.9" in row.facts["by_hand"] and name in row.name
        costs.append(row.facts["ours_final_runs"])
    assert 0 < costs[0] < costs[1] < costs[2] < 20, "less than what the twenty cost, its final run included"
    assert cost([SearchSection(**rules) for rules in LISTS["searches"].values()], 24, 20) > 40
