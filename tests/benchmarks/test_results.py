"""The page of results says what was measured: which side of nothing an interval lies on, and by how much an aim is missed."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import results
from experiments.columns import SCORE_COLUMNS


def test_only_a_whole_interval_is_ahead():
    assert results.verdict(0.1, 0.4, 0.0, lower_is_better=False) == "yes"
    assert results.verdict(-0.1, 0.4, 0.0, lower_is_better=False) == "open"
    assert results.verdict(-0.4, -0.1, 0.0, lower_is_better=False) == "no"
    assert results.verdict(-0.4, -0.1, 0.0, lower_is_better=True) == "yes"
    assert results.verdict(0.7, 0.9, 1.0, lower_is_better=True) == "yes"
    assert results.verdict(math.nan, math.nan, 0.0, lower_is_better=False) == ""


def test_an_aim_says_by_how_much_it_is_missed():
    assert results.aimed(0.951, 0.995, False, "accuracy") == "99.5 %: missed by 4.4 %"
    assert results.aimed(1.4, 1.5, True, "") == "1.5: met"
    assert results.aimed(0.5, None, False, "accuracy") == ""


def write_scores(root, name, dataset, seed=0):
    """results/<name>/scores.csv of one pretraining seed."""

    def score(model, metric, value, low=None, high=None, split="test"):
        of = None if model == "pixels_logistic" else seed
        return [name, dataset, split, model, "linear", metric, None, of, None, 100, 50, value, low, high, "f"]

    rows = [
        score("pretrained", "accuracy", 0.9, 0.85, 0.95),
        score("pretrained", "accuracy", 0.88, 0.8, 0.95, "validation"),
        score("untrained", "accuracy", 0.6, 0.5, 0.7),
        score("pixels_logistic", "accuracy", 0.89, 0.8, 0.95),
        score("pretrained", "accuracy_gain_over_untrained", 0.3, 0.2, 0.4),
        score("pretrained", "accuracy_gain_over_pixels_logistic", 0.01, -0.02, 0.04),
    ]
    (root / "results" / name).mkdir(parents=True)
    pd.DataFrame(rows, columns=SCORE_COLUMNS).to_csv(root / "results" / name / "scores.csv", index=False)


@pytest.fixture
def root(tmp_path):
    """A project with one recipe that was evaluated and one benchmark that was run; the numbers are made up."""
    (tmp_path / "params.yaml").write_text("recipes:\n  tiny: {dataset: spots, modality: image}\n")
    write_scores(tmp_path, "tiny", "spots")
    one = {"name": "wave_mse_vs_naive", "ours": 1.0, "baseline": 2.0, "ratio": 0.5, "low": 0.4, "high": 0.6, "n": 7}
    two = {
        "name": "wave_accuracy_vs_guess",
        "ours": 0.7,
        "baseline": 0.5,
        "ratio": 1.4,
        "low": None,
        "high": None,
        "n": 7,
    }
    one["facts"], two["facts"] = {"stopped": "5 seeds were spent"}, {"gain": 0.2, "gain_low": -0.1, "gain_high": 0.5}
    out = tmp_path / "out"
    out.mkdir()
    three = {**two, "name": "surf_accuracy_vs_guess", "n": 3, "facts": {**two["facts"], "chosen": "rate × 2"}}
    rows = [{**row, "command": "python -m benchmarks.waves"} for row in (one, two, three)]
    (out / "waves.json").write_text(json.dumps({"rows": rows}))
    return tmp_path


def test_recipes_and_benchmarks_stand_on_one_page(root):
    text = "".join(results.measured(root, root / "out").values())
    assert "| linear probe | 90.0 % | untrained encoder | 60.0 % | +30.0 points [+20.0, +40.0] | yes |  |" in text
    assert (
        "| linear probe | 90.0 % | plain features, logistic regression | 89.0 % | +1.0 points [-2.0, +4.0] | open |"
        in text
    )
    assert "| wave mse | 1 | naive | 2 | × 0.500 [0.400, 0.600] | yes |  |" in text
    assert "| wave accuracy | 70.0 % | guess | 50.0 % | +20.0 points [-10.0, +50.0] | open |  |" in text
    assert "| surf accuracy (rate × 2; n = 3) | 70.0 % | guess |" in text, (
        "another number of seeds than the first row's"
    )
    assert "`python -m benchmarks.waves`, n = 7; 5 seeds were spent." in text


def test_sections_that_were_measured_elsewhere_stay_and_recipes_that_are_no_more_go(root, monkeypatch):
    monkeypatch.setattr(results, "OUT", root / "out")
    for name in ("tiny", "other"):
        path = root / "experiments" / "recipes" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    page = root / "docs" / "results.md"
    page.parent.mkdir()
    told = {"Recipe tiny": "stale", "Recipe other": "kept", "Recipe gone": "gone", "Benchmark a": "kept too"}
    page.write_text("# Old words\n\n" + "\n".join(f"## {title}\n\n{said}\n" for title, said in told.items()))
    results.main(root)
    text = page.read_text()
    assert text.startswith(results.INTRODUCTION) and "stale" not in text and "gone" not in text
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["Recipe other", "Recipe tiny", "Benchmark a", "Benchmark waves"]
    assert "## Recipe other\n\nkept\n\n## Recipe tiny\n\n`image`" in text
    results.main(root)
    assert page.read_text() == text, "written twice it is the same"


def test_a_transfer_has_its_own_heading_and_what_is_listed_nowhere_is_left_out(root, capsys):
    (root / "params.yaml").write_text(
        "recipes:\n  tiny: {dataset: spots, modality: image}\ntransfers:\n  tiny_on_dots: {recipe: tiny, dataset: dots}\n"
    )
    write_scores(root, "tiny_on_dots", "dots", seed=3)
    write_scores(root, "gone", "spots")
    found = results.measured(root, root / "out")
    assert [title for title in found if not title.startswith("Benchmark")] == ["Recipe tiny", "Transfer tiny_on_dots"]
    said = found["Transfer tiny_on_dots"]
    assert "Models of recipe `tiny`, probed on dataset `dots`, 100 training and 50 test samples" in said
    assert "1 pretraining seed(s): `dvc repro` of transfer `tiny_on_dots`." in said, "one seed, whatever its number"
    assert "| linear probe | 90.0 % | untrained encoder | 60.0 % | +30.0 points [+20.0, +40.0] | yes |" in said
    assert "gone/scores.csv is left out: params.yaml lists no recipe" in capsys.readouterr().out
    assert results.place("Recipe z", root) is None
    (root / "experiments" / "recipes").mkdir(parents=True)
    (root / "experiments" / "recipes" / "z.yaml").write_text("")
    places = [results.place(title, root) for title in ("Recipe z", "Transfer a", "Benchmark a")]
    assert places == sorted(places)


def test_a_gain_without_an_interval_is_no_verdict(root):
    path = root / "out" / "waves.json"
    content = json.loads(path.read_text())
    for row in content["rows"]:
        row["facts"] |= {"gain_low": None, "gain_high": None, "gain": 0.2, "split": "validation"}
    path.write_text(json.dumps(content))
    path.with_name("scaling-dataset-spots.json").write_text(json.dumps(content))
    found = results.measured(root, root / "out")
    assert list(found) == ["Recipe tiny", "Benchmark waves"], "speed and forecasts of runs have another page"
    text = found["Benchmark waves"]
    assert "| wave accuracy | 70.0 % | guess | 50.0 % | +20.0 points, no interval |  |  |" in text
    assert f"5 seeds were spent. {results.VALIDATION}\n" in text, "rows that are not of the test part say so"


def sweep(root, **facts):
    """The row of a variant in the section of a sweep of one row, and the whole section."""
    gain = {"gain": 0.011, "gain_low": 0.004, "gain_high": 0.018}
    row = {
        "name": "line_knn_accuracy_vs_random",
        "ours": 0.939,
        "baseline": 0.928,
        "ratio": 1.01,
        "low": None,
        "high": None,
        "n": 10,
    }
    row |= {"command": "python -m benchmarks.mask_ratio", "facts": gain | facts}
    (root / "out" / "mask_ratio-words-1000.json").write_text(json.dumps({"rows": [row]}))
    text = results.measured(root, root / "out")["Benchmark mask_ratio-words-1000"]
    return next(line for line in text.splitlines() if line.startswith("| line")), text


def test_a_sweep_is_judged_by_the_wider_of_seeds_and_items(root):
    row, text = sweep(root, over_items=0.011, over_items_low=-0.003, over_items_high=0.027)
    assert row.endswith("| +1.1 points [-0.3, +2.7] over items | open |  |") and results.WIDER in text
    row, text = sweep(root, over_items=0.011, over_items_low=0.009, over_items_high=0.013)
    assert row.endswith("| +1.1 points [+0.4, +1.8] | yes |  |") and results.WIDER in text
    row, text = sweep(root, over_sets=0.011, over_sets_low=-0.1, over_sets_high=0.122)
    assert row.endswith("| +1.1 points [-10.0, +12.2] over sets | open |  |")
    for unknown in ({}, {"over_sets": 0.011, "over_sets_low": None, "over_sets_high": None}):
        row, text = sweep(root, **unknown)
        assert row.endswith("| +1.1 points [+0.4, +1.8] | yes over seeds |  |") and results.WIDER not in text


def test_items_alone_are_no_verdict_on_seeds(root):
    row, _ = sweep(root, gain_low=None, gain_high=None, over_items=0.011, over_items_low=0.009, over_items_high=0.013)
    assert row.endswith("| +1.1 points, no interval |  |  |")


def test_a_gain_over_a_baseline_of_nothing_is_shown(root):
    path = root / "out" / "waves.json"
    content = json.loads(path.read_text())
    content["rows"][1] |= {"baseline": 0.0, "ours": 0.2, "ratio": None}
    content["rows"][2] |= {"baseline": 0.0, "ours": 0.2, "ratio": None, "facts": {}}
    path.write_text(json.dumps(content))
    text = results.measured(root, root / "out")["Benchmark waves"]
    assert "| wave accuracy | 20.0 % | guess | 0.0 % | +20.0 points [-10.0, +50.0] | open |  |" in text
    assert "surf" not in text, "nothing was compared"


def test_verdicts_of_older_sweeps_say_that_they_are_over_seeds(root, monkeypatch):
    monkeypatch.setattr(results, "OUT", root / "none")
    page = root / "docs" / "results.md"
    page.parent.mkdir()
    row = "| a | 1 | b | 2 | +1.0 points [+0.5, +1.5] | yes |  |"
    told = {
        "Benchmark mask_ratio-a": row,
        "Benchmark mask_ratio-b": f"{results.WIDER}\n\n{row}",
        "Benchmark ucr": f"n = 10.\n\n{results.HEAD}{row.replace('[+0.5, +1.5]', '× 1.030 [1.026, 1.035]').replace('yes', 'no')}",
        "Benchmark video": row,
    }
    page.write_text("".join(f"## {title}\n\n{said}\n" for title, said in told.items()))
    for _ in range(2):
        results.main(root)
        found = results.sections(page.read_text())
        ends = {
            title: text.rstrip().rpartition("] ")[2] for title, text in found.items() if title.startswith("Benchmark")
        }
        assert list(ends.values()) == ["| yes over seeds |  |", "| yes |  |", "| no over seeds |  |", "| yes |  |"]
        assert found["Benchmark ucr"].count(results.EXACT) == 1
    page.write_text(page.read_text().replace(results.EXACT, "").replace("1.030 [1.026", "1.040 [1.036"))
    results.main(root)
    assert results.EXACT not in page.read_text(), "a note is of the figures that it was written beside"


def test_notes_of_figures_that_were_mended_since_stand_beside_these_alone():
    for heading, figure in results.OF.items():
        table = f"## {heading}\n\nSaid.\n\n{results.HEAD}| a | {figure} |\n"
        told = results.noted(heading, table)
        assert told.startswith(f"## {heading}\n\nSaid. {' '.join(results.NOTES[heading])}\n\n{results.HEAD}")
        assert results.noted(heading, told) == told
        another = table.replace(figure, "another")
        assert results.noted(heading, another) == another
    assert {"Recipe emoji", "Recipe pollution", "Recipe spoken_mnist"} <= set(results.OF)


def test_the_page_says_what_is_to_be_known_of_its_figures():
    page = Path(__file__).parents[2] / "docs" / "results.md"
    for heading, text in results.sections(page.read_text()).items():
        assert results.noted(heading, text) == text, "write it anew: python -m benchmarks.results"


def test_what_is_old_says_so_once(root, monkeypatch):
    monkeypatch.setattr(results, "OUT", root / "out")
    page = root / "docs" / "results.md"
    page.parent.mkdir()
    old, new = "Benchmark objectives-mnist-7666", "Benchmark objectives-mnist-19200"
    table = f"{results.HEAD}| a | 1 |"
    told = {old: f"`--steps 7666`, n = 5.\n\n{table}", new: f"`--finalists 3`\n\n{table}"}
    page.write_text("".join(f"## {title}\n\n{said}\n" for title, said in told.items()))
    for _ in range(2):
        results.main(root)
        text = page.read_text()
        assert f"n = 5. {results.NO_FINALISTS}\n\n{table}" in text and text.count(results.NO_FINALISTS) == 1
