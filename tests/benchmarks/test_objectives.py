"""The sweep over objectives: every variant is a recipe, cells are kept, cost is equal, rows compare paired seeds."""

import json

import pytest
from project import write_dataset

from benchmarks import objectives
from benchmarks.objectives import VARIANTS, Cell, rows_of, variant
from experiments.recipe import Recipe
from experiments.resolving import resolve
from mae_core.data.dataset import open_dataset
from mae_core.flops import train_flops
from mae_core.model import MaskedAutoencoder

SMALL = Recipe.model_validate(
    {
        "model": {"encoder": {"width": 16, "depth": 1, "heads": 2}, "decoder": {"width": 8, "heads": 2}, "patch": 2},
        "pretrain": {"batch_size": 12, "precision": "fp32"},
    }
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objectives")
    write_dataset(folder)
    return folder


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_a_recipe_that_builds(name, root):
    info = open_dataset(root / "data" / "tiny").info
    config = resolve(variant(SMALL, name), info).config
    assert MaskedAutoencoder.build(config).config == config
    assert (train_flops(config) > train_flops(resolve(SMALL, info).config)) == (
        name not in ("plain", "uniformity", "hog", "fourier")
    )


def test_a_stopped_sweep_goes_on_and_costs_are_equal(root, tmp_path, monkeypatch):
    monkeypatch.setattr(objectives, "load_recipe", lambda *_: SMALL)
    names = ["mask_contrastive", "latent"]
    asked = ["--dataset", "tiny", "--recipe", "small", "--seeds", "1", "--root", str(root), "--out", str(tmp_path)]
    asked += ["--minutes", "0.001", "--variants", *names]
    folder = tmp_path / "objectives-tiny"
    folder.mkdir()
    (folder / "steps-0.001-minutes.json").write_text('{"steps": 40, "minutes": 0.001}')
    objectives.main(asked)
    cells = {cell.variant: cell for cell in (Cell(**json.loads(f.read_text())) for f in folder.glob("*-seed-*"))}
    assert set(cells) == {"plain", *names} and cells["plain"].steps == 40
    info = open_dataset(root / "data" / "tiny").info
    costs = [cell.steps * train_flops(resolve(variant(SMALL, name), info).config) for name, cell in cells.items()]
    assert max(costs) < 1.06 * min(costs) and cells["latent"].steps < 35
    assert all(0 < cell.knn <= 1 and 0 < cell.linear <= 1 and cell.effective_rank > 1 for cell in cells.values())
    monkeypatch.setattr(objectives, "start", lambda *_: pytest.fail("trained again"))
    objectives.main(asked)
    rows = json.loads((tmp_path / "objectives-tiny.json").read_text())["rows"]
    assert [row["name"] for row in rows[3:6]] == [
        f"mask_contrastive_vs_plain_{what}_validation" for what in ("knn", "linear", "effective_rank")
    ]


def test_steps_are_measured_once(root, tmp_path):
    data = open_dataset(root / "data" / "tiny")
    steps = objectives.steps_in(0.01, SMALL, data, tmp_path)
    assert steps >= 1 and objectives.steps_in(0.01, SMALL, data, tmp_path) == steps


def test_gains_are_paired_by_seed():
    def cell(name, seed, knn):
        return Cell(name, seed, 100, 1.0, knn, 0.5, 4.0, 0.25)

    cells = [cell("plain", seed, knn) for seed, knn in enumerate((0.5, 0.6, 0.7))]
    cells += [cell("latent", seed, knn) for seed, knn in enumerate((0.52, 0.61, 0.73))]
    row = next(row for row in rows_of(cells, "this") if row.name == "latent_vs_plain_knn_validation")
    assert row.facts["gain"] == pytest.approx(0.02) and 0 > row.facts["gain_low"] > -0.01
    assert 0.04 < row.facts["gain_high"] < 0.05 and row.n == 3
    assert "gain" not in rows_of(cells, "this")[0].facts
