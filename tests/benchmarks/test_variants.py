"""Sweeps over recipes: trials are chosen on validation, cells are kept, cost is equal, rows compare paired seeds."""

import json
import shutil
import time

import numpy as np
import pytest
import torch
import yaml
from project import write_dataset

from benchmarks import led_masks, mask_ratio, objectives, variants
from benchmarks.training import recipe_with
from benchmarks.variants import LOOKED, Cell, Found, Sweep, Trial, rows_of, run
from experiments.recipe import Recipe, RecipeError
from experiments.resolving import resolve
from mae_core.data.dataset import open_dataset
from mae_core.evaluation.statistics import over_seeds
from mae_core.flops import train_flops
from mae_core.modalities.base import Modality
from mae_core.model import MaskedAutoencoder
from mae_core.registry import resolve as named
from mae_core.training.loop import TrainingDiverged
from mae_core.training.precision import choose_precision

SMALL = {
    "model": {"encoder": {"width": 16, "depth": 1, "heads": 2}, "decoder": {"width": 8, "heads": 2}, "patch": 2},
    "pretrain": {"batch_size": 12, "precision": "fp32"},
}
TABLES = {
    "objectives": objectives.TABLES,
    "mask_ratio": {name: mask_ratio.table(name) for name in mask_ratio.STRATEGIES},
    "led_masks": {name: led_masks.table(name) for name in mask_ratio.STRATEGIES},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("variants")
    write_dataset(folder)
    recipe = folder / "experiments" / "recipes" / "small.yaml"
    recipe.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text(yaml.safe_dump(Recipe.model_validate(SMALL).model_dump()))
    return folder


@pytest.fixture
def sweep(root, tmp_path):
    flops = 20 * variants.described(root, "tiny", "small", Trial(), "cpu").step_flops
    return Sweep(root, "tiny", "small", flops, flops / 2, tmp_path, "cpu", 1, time.time() + 1000)


@pytest.mark.parametrize("table", TABLES)
def test_every_trial_is_a_recipe_that_builds(table, root):
    info = open_dataset(root / "data" / "tiny").info
    for trials in TABLES[table]["image"].values():
        for trial in trials:
            config = resolve(recipe_with(Recipe.model_validate(SMALL), trial.changes), info).config
            assert MaskedAutoencoder.build(config).config == config, trial


@pytest.mark.parametrize("modality", mask_ratio.STRATEGIES)
def test_tables_name_what_the_modality_has(modality):
    from mae_core.modalities import MODALITIES

    kind: type[Modality] = named(MODALITIES, modality, "modality")
    assert set(mask_ratio.STRATEGIES[modality]) <= set(kind.maskers)
    for name, tables in TABLES.items():
        counts = {len(trials) for variant, trials in tables[modality].items() if variant != "best_of_grid"}
        assert len(counts) == 1, f"{name}: everybody gets as many trials"


def test_the_best_trial_on_validation_is_compared_at_equal_cost(sweep, monkeypatch):
    table = {
        "plain": (Trial(), Trial({}, 0.5)),
        "two": (Trial({"objective.mask_contrastive": 0.1}), Trial({"masking.ratio": 0.5})),
    }
    found = run(sweep, table, "knn", seeds=2, most_seeds=2, half_width=0.01)
    files = [json.loads(path.read_text()) for path in sweep.folder.glob("*.json")]
    data, recipe = variants.opened(sweep.root, "tiny", "small")
    short, seeds = {}, []
    for one in files:
        trial = next(t for trials in table.values() for t in trials if str(t) == one["trial"])
        settings = resolve(recipe_with(recipe, trial.changes), data.info)
        batch = settings.settings.batch_size
        share = one["steps"] * train_flops(settings.config, batch) * batch / sweep.flops
        assert share == pytest.approx(1, rel=0.1) or share == pytest.approx(0.5, rel=0.1)
        if share < 0.75:
            assert one["seed"] == variants.TUNED_ON, "only trials are half as long"
            short[one["trial"]] = one["validation"]["knn"]
        else:
            seeds.append(one["seed"])
    assert len(short) == 4 and sorted(seeds) == sorted(2 * [0, 1]), "of two trials one goes on, and needs no second one"
    assert short[str(found.chosen["two"])] == max(short[str(trial)] for trial in table["two"])
    assert "2 seeds were spent" in found.note
    monkeypatch.setattr(variants, "train", lambda *_: pytest.fail("trained again"))
    assert run(sweep, table, "knn", 2, 2, 0.01).cells == found.cells


FAILED = Cell(0, 0.0, "", float("nan"), {}, {}, {}, "TrainingDiverged: no finite gradient")


class Told:
    """A sweep whose cells are made up: every trial is worth what it is told at each seed and length."""

    flops, tuning_flops = 1.0, 1.0

    def __init__(self, worth, until=None):
        self.worth, self.until = worth, time.time() + 1000 if until is None else until

    def task(self, trial, seed, flops):
        return str(trial), seed, flops

    def cells(self, tasks):
        worth = [self.worth[trial](seed, flops) for trial, seed, flops in tasks]
        return [FAILED if one is None else _cell(one, [0] * 8) for one in worth]


def test_after_the_first_seeds_the_best_goes_on_until_its_interval_is_narrow():
    table = {name: (Trial({name: 1}),) for name in ("plain", "good", "poor")}
    noise = {name: np.random.default_rng(at).normal(0, 0.02, 100) for at, name in enumerate(table)}
    means = {"plain": 0.5, "good": 0.6, "poor": 0.3}
    told = Told({f"{name} 1": lambda seed, _, name=name: means[name] + noise[name][seed % 100] for name in table})
    found = run(told, table, "knn", seeds=5, most_seeds=60, half_width=0.01)
    counts = {name: len(cells) for name, cells in found.cells.items()}
    assert counts["poor"] == 5 and 10 <= counts["plain"] == counts["good"] < 60
    assert "half-width of knn at most 1 points: good" in found.note
    stopped = {row.name: row.facts["stopped"] for row in rows_of(found, table, "knn", 8, "this")}
    assert stopped["good_knn_accuracy_vs_plain"] == stopped["plain_knn_accuracy_vs_plain"] == f"{found.note}; {LOOKED}"
    assert stopped["poor_knn_accuracy_vs_plain"] == found.note, "nobody looked"
    gains = np.array(
        [found.cells["good"][seed].test["knn"] - found.cells["plain"][seed].test["knn"] for seed in found.cells["good"]]
    )
    assert over_seeds(gains, "").width < 0.02 <= over_seeds(gains[:-5], "").width, "no more seeds than that takes"
    named = run(told, table, "knn", 5, 10, 0.001, narrow=["poor"])
    assert {name: len(cells) for name, cells in named.cells.items()} == {"plain": 10, "good": 5, "poor": 10}
    assert named.note == "10 seeds were spent; wider: poor"
    late = run(Told(told.worth, until=0.0), table, "knn", 5, 60, 0.001)
    assert late.note == "the time was spent; wider: good" and all(len(cells) == 5 for cells in late.cells.values())


class Short(Told):
    """Its trials have a tenth of the length; of the others ``asked`` keeps which were trained whole."""

    tuning_flops, late, finalists = 0.1, False, 3

    def cells(self, tasks):
        if self.late and tasks[0][2] == 1:
            return [None] * len(tasks)
        self.asked = [trial for trial, _, flops in tasks if flops == 1]
        return super().cells(tasks)


def test_short_trials_choose_finalists_alone():
    worth = {0.5: (0.9, 0.3), 0.7: (0.8, 0.4), 1: (0.7, 0.5), 1.4: (0.6, 0.9), 2: (0.5, 0.9)}
    table = {"plain": tuple(Trial({}, rate) for rate in worth)}
    told = Short({f"rate × {rate}": lambda _, flops, two=two: two[flops == 1] for rate, two in worth.items()})
    assert variants.choose(told, table, "knn")["plain"].rate == 1, "the best of three at the whole length"
    assert told.asked == ["rate × 0.5", "rate × 0.7", "rate × 1"]
    told.worth |= {
        f"rate × {rate}": lambda _, flops, one=rate: worth[one][0] if flops < 1 else None for rate in (0.5, 0.7, 1)
    }
    assert variants.choose(told, table, "knn")["plain"].rate == 1.4, "none of the three could be trained whole"
    told.late = True
    assert variants.choose(told, table, "knn")["plain"].rate == 0.5, "without time for them the short ones decide"
    told.late, told.finalists, told.asked = False, 1, []
    assert variants.choose(told, table, "knn")["plain"].rate == 0.5 and not told.asked, (
        "of one nothing is left to choose"
    )


def test_a_sweep_whose_time_is_up_begins_nothing(sweep):
    found = run(sweep._replace(until=time.time() - 1), {"plain": (Trial(),)}, "knn", 2, 2, 0.01)
    assert not found.cells and not list(sweep.folder.glob("*.json"))


@pytest.fixture
def one_thread():
    """As the processes of a sweep have it: two add in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_processes_give_the_same_cells(sweep, tmp_path, one_thread):
    tasks = [sweep.task(Trial({"masking.ratio": ratio}), 0, sweep.flops) for ratio in (0.5, 0.75)]
    alone = [variants.read_cell(variants.train(task)) for task in tasks]
    together = sweep._replace(workers=2).cells(tasks)
    assert [cell._replace(seconds=0.0) for cell in together] == [cell._replace(seconds=0.0) for cell in alone]


def _cell(knn, bits):
    measures = {"knn": knn, "linear": 0.5, "effective_rank": 4.0}
    hits = {"knn": np.packbits(bits).tobytes().hex(), "linear": np.packbits(bits).tobytes().hex()}
    return Cell(100, 1.0, "cpu", 0.1, measures, measures, hits)


def test_gains_are_paired_by_seed_and_by_item():
    items = [1, 0, 0, 1, 0, 1, 0, 0, 0, 0]
    better = [1, 1, 0, 1, 0, 1, 0, 0, 0, 0]
    cells = {
        "plain": {seed: _cell(knn, items) for seed, knn in enumerate((0.5, 0.6, 0.7))},
        "two": {seed: _cell(knn, better) for seed, knn in enumerate((0.52, 0.61, 0.73))},
    }
    table = {name: (Trial(),) for name in cells}
    rows = {
        row.name: row
        for row in rows_of(Found(dict.fromkeys(cells, Trial()), cells, "done", 5), table, "knn", 10, "this")
    }
    row = rows["two_knn_accuracy_vs_plain"]
    assert row.facts["gain"] == pytest.approx(0.02) and 0 > row.facts["gain_low"] > -0.01
    assert 0.04 < row.facts["gain_high"] < 0.05 and row.n == 3
    assert row.facts["over_items"] == pytest.approx(0.1) and row.facts["best_on_validation"]
    assert "gain" not in rows["plain_knn_accuracy_vs_plain"].facts


def test_who_is_best_on_validation_is_so_by_the_metric_of_the_sweep():
    good, poor = _cell(0.9, [0] * 8), _cell(0.5, [0] * 8)
    good.validation["linear"] = 0.4
    cells = {"plain": {0: poor}, "near": {0: good}}
    found = Found(dict.fromkeys(cells, Trial()), cells, "done", 1)
    for metric, leader in (("knn", "near"), ("linear", "plain")):
        rows = rows_of(found, {name: (Trial(),) for name in cells}, metric, 8, "this")
        assert {row.name.partition("_")[0] for row in rows if row.facts["best_on_validation"]} == {leader}


TABLE = {
    "plain": (Trial(), Trial({}, 0.5)),
    "good": (Trial({"masking.ratio": 0.5}), Trial({"masking.ratio": 0.6})),
    "poor": (Trial({"masking.ratio": 0.7}), Trial({"masking.ratio": 0.8})),
}


@pytest.fixture
def failing(monkeypatch):
    """What is trained, and what cannot be: trials in words, some at one seed alone; others are the better the later they were asked for."""
    asked, bad = [], {}

    def train(task):
        asked.append((str(task.trial), task.seed))
        if task.seed in bad.get(str(task.trial), ()):
            raise TrainingDiverged("no finite gradient")
        return json.dumps(_cell(0.5 + len(asked) / 100, [0] * 8)._asdict())

    monkeypatch.setattr(variants, "train", train)
    return asked, bad


TUNED = range(variants.TUNED_ON + 1)


def test_what_cannot_be_trained_is_not_chosen_not_paired_and_not_trained_again(sweep, failing):
    asked, bad = failing
    bad |= {"rate × 0.5": TUNED, "ratio 0.6": (1,), "ratio 0.7": TUNED, "ratio 0.8": TUNED}
    whole = sweep._replace(tuning_flops=sweep.flops)
    found = run(whole, TABLE, "knn", 4, 4, 0.0)
    assert {name: str(trial) for name, trial in found.chosen.items()} == {"plain": "rate × 1", "good": "ratio 0.6"}
    assert {name: list(cells) for name, cells in found.cells.items()} == {"plain": [0, 1, 2, 3], "good": [0, 2, 3]}
    assert found.note == "4 seeds were spent; wider: good; failed: good seed 1; without a trained trial: poor"
    rows = {row.name: row for row in rows_of(found, TABLE, "knn", 8, "this")}
    assert rows["good_knn_accuracy_vs_plain"].n == 3
    named = run(whole, TABLE, "knn", 2, 4, 0.0, narrow=["poor", "good"])
    assert named.note == found.note, "who has no trained trial is not gone on with"
    once = len(asked)
    assert run(whole, TABLE, "knn", 4, 4, 0.0) == found and len(asked) == once
    bad["rate × 1"] = TUNED
    with pytest.raises(RuntimeError, match="no trial of the baseline plain could be trained on tiny"):
        run(whole._replace(folder=sweep.folder / "anew"), TABLE, "knn", 4, 4, 0.0)


def test_other_labels_weights_and_precisions_are_other_cells(sweep, tmp_path):
    def task(trial, root=sweep.root):
        return sweep._replace(root=root).task(trial, 0, sweep.flops)

    for name, labels in (("same", np.arange(240) % 3), ("other", np.roll(np.arange(240) % 3, 1))):
        write_dataset(tmp_path / name, labels=labels)
        shutil.copytree(sweep.root / "experiments", tmp_path / name / "experiments")
    one, same, other = (task(Trial(), root) for root in (sweep.root, tmp_path / "same", tmp_path / "other"))
    assert one.training().config == other.training().config and one.file == same.file != other.file
    here = choose_precision("auto", torch.device("cpu")).name
    files = {name: task(Trial({"pretrain.precision": name})).file for name in ("auto", "bf16", "fp32")}
    assert files["auto"] == files[here] and files["bf16"] != files["fp32"]


def test_cells_of_a_gpu_are_cells_of_their_own(sweep):
    pinned = Trial({"pretrain.precision": "fp32"})
    here, there = (sweep._replace(device=device).task(pinned, 0, sweep.flops).file for device in ("cpu", "cuda"))
    assert here != there


def test_what_is_done_once_a_step_is_shared_out_among_its_own_samples(root):
    led = Trial({"masking.strategy": "policy", "masking.options": {"reward": "probe"}})
    training = variants.described(root, "tiny", "small", led, "cpu")
    assert training.settings.batch_size == 12
    assert training.step_flops == 12 * train_flops(training.config, 12) > 12 * train_flops(training.config)


def test_a_training_begins_where_its_recipe_says(sweep, tmp_path):
    config = sweep.task(Trial(), 0, sweep.flops).training().config
    saved = MaskedAutoencoder.build(config, 7)
    folder = saved.save(sweep.root / "models" / "saved")
    task = sweep.task(Trial({"pretrain.init_from": "models/saved"}), 0, sweep.flops)
    begun, fresh = task.training().begin().model.state_dict(), sweep.task(Trial(), 0, sweep.flops).training().begin()
    assert all(torch.equal(begun[name], weight) for name, weight in saved.state_dict().items())
    assert any(not torch.equal(fresh.model.state_dict()[name], weight) for name, weight in begun.items())
    before = task.file
    MaskedAutoencoder.build(config, 8).save(folder)
    assert task.file != before, "other weights, another cell"
    of = {"objective.target": "features", "objective.features_from": "models/saved"}
    (cell,) = sweep.cells([sweep.task(Trial(of), 0, sweep.flops)])
    assert not cell.problem and np.isfinite(cell.loss)
    wider = Trial({"pretrain.init_from": "models/saved", "model.encoder.width": 32})
    with pytest.raises(RecipeError, match="another architecture"):
        sweep.task(wider, 0, sweep.flops).training()
