"""The ``maestro`` command: every command does its work, and an error is one line that says what to do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from commanding import refused
from PIL import Image
from project import ROOT, write_dataset, write_recipe

from experiments import forecast
from experiments.calibration import Machine
from experiments.measuring import Steps
from mae_core.model import MaskedAutoencoder
from mae_core.speed import Rates
from mae_core.work import Work
from pipelines import cli

COMMANDS = sorted(command.name or command.callback.__name__ for command in cli.app.registered_commands)


def list_plainly(project: Path) -> None:
    """params.yaml as it is in the repository: one line a recipe."""
    text = "datasets: [tiny]\nrecipes:\n  tiny: {dataset: tiny, modality: image}\ntransfers: {}\n"
    (project / "params.yaml").write_text(text)


def add_dataset(project: Path, name: str) -> None:
    """Describes a dataset as the repository describes one."""
    shutil.copy(
        ROOT / "experiments" / "datasets" / "mnist5k.yaml", project / "experiments" / "datasets" / f"{name}.yaml"
    )


def test_every_command_is_tried_here():
    text = Path(__file__).read_text()
    assert [name for name in COMMANDS if f'maestro("{name}"' not in text and name != "demo"] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(maestro, name):
    said = maestro(name, "--help")
    assert said.code == 0 and f"maestro {name}" in said.out and "Traceback" not in said.err


@pytest.mark.parametrize("where", [["--modality", "series"], ["--dataset", "tiny", "--ratio", "0.5", "--count", "2"]])
def test_masks_are_drawn(maestro, project, where):
    said = maestro("masks", "--out", "gallery.png", *where)
    assert said.code == 0 and said.out.startswith("gallery.png: a row for each mask, ")
    with Image.open(project / "gallery.png") as picture:
        assert picture.width > 200 and picture.height > 300 and len(picture.convert("L").getcolors(256) or []) > 3


def test_masks_are_drawn_in_letters(maestro, project):
    assert maestro("masks", "--out", "gallery.txt").out.startswith("gallery.txt: every mask of one sample")
    text = (project / "gallery.txt").read_text(encoding="utf-8")
    assert "random" in text and "weight_map" in text and "■" in text and "·" in text
    assert "draw them as a picture" in maestro("masks", "--out", "gallery.txt", "--modality", "video").err


def test_masks_that_cannot_be_drawn_say_why(maestro):
    assert "did you mean 'image'" in maestro("masks", "--out", "a.png", "--modality", "imag").err
    assert "at least one sample" in maestro("masks", "--out", "a.png", "--count", "0").err
    assert "--dataset" in maestro("masks", "--out", "a.png", "--model", "models/tiny/seed-0").err


def test_alone_it_lists_its_commands(maestro):
    said = maestro()
    assert all(name in said.out for name in COMMANDS)


def test_the_installed_command_starts_quickly_and_without_the_tools():
    """Help must not wait for torch or Ray to be imported."""
    code = "import sys, pipelines.cli; print(sorted({'torch', 'ray', 'mlflow', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_command_is_refused(maestro):
    said = maestro("plann")
    assert said.code == 2 and "No such command 'plann'" in said.err


def test_datasets_are_listed_with_their_state(maestro, project):
    add_dataset(project, "tiny")
    add_dataset(project, "other")
    lines = maestro("datasets").out.splitlines()
    assert re.match(r"other +image +not prepared +\w", lines[0])
    assert re.match(r"tiny +image +prepared +\w", lines[1])


@pytest.mark.parametrize("text", ["modality: [", "- a\n", "{}\n", "modality: smell\n"])
def test_a_damaged_dataset_file_is_named_among_the_others(maestro, project, text):
    add_dataset(project, "other")
    (project / "experiments" / "datasets" / "damaged.yaml").write_text(text)
    said = maestro("datasets")
    assert said.code == 0 and "cannot be used:" in said.out.splitlines()[0] and "damaged.yaml" in said.out
    assert re.search(r"^other +image", said.out, re.M)


def test_scores_say_how_to_get_some(maestro):
    said = maestro("scores")
    assert said.code == 0 and "no scores yet: run `dvc repro`" in said.out


def test_scores_name_a_file_that_cannot_be_read(maestro, project):
    (project / "results" / "tiny" / "scores.csv").write_text("some,thing\nelse,1\n")
    said = maestro("scores")
    assert said.code == 0 and "not read: results/tiny/scores.csv" in said.out, said
    assert "no scores yet" not in said.out


def test_plan_shows_each_value_with_its_origin_and_the_cost(maestro, project):
    before = sorted(project.rglob("*"))
    said = maestro("plan", "tiny")
    assert said.code == 0, said
    assert re.search(r"model\.encoder\.width +16 +recipe", said.out)
    assert re.search(r"steps +60", said.out) and "TFLOP" in said.out and "parameters" in said.out
    assert sorted(path for path in project.rglob("*") if "__pycache__" not in path.parts) == [
        path for path in before if "__pycache__" not in path.parts
    ]


def test_plan_says_how_to_get_a_forecast(maestro):
    said = maestro("plan", "tiny")
    assert "not known of this machine: `maestro plan tiny --calibrate` measures it once" in said.out


def test_plan_says_on_paper_what_more_gpus_would_take(maestro):
    said = maestro("plan", "tiny", "--gpus", 2, "--gpus", 8, "--gpu", "A100", "--strategy", "fsdp2")
    assert said.code == 0, said
    assert re.search(r"on paper, 2 × A100 +\d+ samples each, \d+ MB sent by each a step; ", said.out)
    assert "on paper, 8 × A100" in said.out and "30% of the peak assumed" in said.out


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (("--gpus", 100_000), "cannot be shared by 100000 workers"),
        (("--gpus", 8, "--gpu", "Z9"), "the peak of 'Z9' is not known: there are .*H200"),
        (("--gpus", 8, "--strategy", "zero"), "unknown strategy 'zero': there are ddp, fsdp2"),
    ],
)
def test_plan_refuses_gpus_that_cannot_be_planned(maestro, asked, reason):
    refused(maestro("plan", "tiny", *asked), reason)


def test_plan_forecasts_from_what_is_known_of_the_machine(maestro, project, monkeypatch):
    machine = Machine(Rates(Work(*[1e-9] * 8)), 1.0, 4.0, 0.1, 0.01, 300.0, 2.0, 3.0)
    monkeypatch.setattr(forecast, "calibrated", lambda root, threads: machine)
    said = maestro("plan", "tiny", "--calibrate", "--price-per-hour", 3600)
    assert said.code == 0, said
    assert re.search(r"time +[45] s, [45] s of CPU on \d+ threads?; from what this machine took for made-up", said.out)
    assert re.search(r"peak memory +3\d\d MB of its process", said.out) and re.search(
        r"cost +4\.\d\d: 0\.00 hours", said.out
    )
    assert (project / "runs" / "machine.json").is_file()
    assert "time  " in maestro("plan", "tiny").out and "not known" not in maestro("plan", "tiny").out


def test_plan_measures_the_recipe_where_it_is_asked_to(maestro, monkeypatch):
    steps = Steps(40, 0.2, 0.1, 5.0, 6.0, 0.5, 400.0, 0.001, 0.0)
    monkeypatch.setattr(forecast, "first_steps", lambda *given: steps)
    said = maestro("plan", "tiny", "--measure")
    assert "from 40 of its own steps" in said.out and "peak memory              400 MB" in said.out


def test_plan_takes_no_negative_price(maestro):
    said = maestro("plan", "tiny", "--price-per-hour", "-1")
    assert said.code == 2 and "--price-per-hour" in said.err


def test_plan_that_asks_for_more_than_this_machine_has_says_so(maestro, project):
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("workers: 1", "workers: 4000"))
    said = maestro("plan", "tiny")
    assert said.code == 0 and re.search(r"time, peak memory +not known: 4000 workers need 4000 CPUs", said.out)


def test_plan_of_an_unknown_recipe_names_the_nearest(maestro):
    refused(maestro("plan", "tinny"), r"does not list the recipe 'tinny' \(did you mean 'tiny'\?\)")


def test_plan_of_an_unprepared_dataset_says_how_to_prepare_it(maestro, project):
    (project / "params.yaml").write_text("datasets: [a]\nrecipes:\n  tiny: {dataset: a, modality: image}\n")
    refused(maestro("plan", "tiny"), r"data/a holds no prepared dataset: run `dvc repro prepare@a`")


def test_plan_of_a_wrong_recipe_names_the_key(maestro, project):
    path = project / "experiments" / "recipes" / "tiny.yaml"
    path.write_text(yaml.safe_dump({"masking": {"rato": 0.5}}))
    refused(maestro("plan", "tiny"), r"unknown key 'masking\.rato' \(did you mean 'ratio'\?\)")


def searched(project: Path) -> None:
    """What a search of two trials left, and a recipe that leaves the mask ratio open."""
    write_recipe(project, masking={"ratio": "auto"})
    facts = {"status": "complete", "seed": 0, "steps": 9, "flops": 1e9, "parameters": 9, "loss": 0.1, "rung": 0}
    rows = [("default", 0.5, 0.75), ("sampled", 0.6, 0.5)]
    table = [
        {**facts, "trial": trial, "origin": origin, "score": score, "masking.ratio": ratio}
        for trial, (origin, score, ratio) in enumerate(rows)
    ]
    pd.DataFrame(table).to_parquet(project / "results" / "tiny" / "trials.parquet")
    summary = {
        "schema": 1,
        "metric": "knn",
        "trials": 2,
        "verdict": "trial 1 leads",
        "importance": {},
        "importance_n": 2,
    }
    (project / "results" / "tiny" / "search.json").write_text(json.dumps(summary))


def test_study_says_what_a_search_found(maestro, project):
    refused(maestro("study", "tiny"), r"no search of tiny is here: run `dvc repro search@tiny`")
    searched(project)
    said = maestro("study", "tiny")
    assert said.code == 0, said
    assert "2 trials, ranked by knn" in said.out and "trial 1 leads" in said.out and "maestro pin tiny 1" in said.out


def test_pin_makes_a_trial_a_recipe(maestro, project):
    searched(project)
    said = maestro("pin", "tiny", 1, "--name", "mine")
    assert said.code == 0, said
    assert said.out.endswith("maestro enable mine --dataset tiny && dvc repro evaluate@mine\n")
    written = yaml.safe_load((project / "experiments" / "recipes" / "mine.yaml").read_text())
    assert written["masking"]["ratio"] == 0.5 and written["pretrain"]["steps"] < 60, "fewer hidden, fewer steps"
    refused(maestro("pin", "tiny", 1, "--name", "mine"), "there already")
    refused(maestro("pin", "tiny", 5, "--name", "other"), "no trial 5: there are 0, 1")


@pytest.mark.parametrize("arguments", [(), ("--",), ("--steps",)])
def test_plan_without_a_recipe_shows_its_use(maestro, arguments):
    said = maestro("plan", *arguments)
    assert said.code == 2 and "Usage: maestro plan" in said.err


@pytest.mark.parametrize(
    "text", ["recipes: [", "", "- a\n", "recipes: {tiny: {dataset: a}}\n", "recipes: {tiny: null}\n"]
)
def test_a_damaged_params_file_is_one_line(maestro, project, text):
    (project / "params.yaml").write_text(text)
    refused(maestro("plan", "tiny"), "params.yaml")


def test_doctor_says_what_it_checked(maestro):
    said = maestro("doctor")
    assert said.code == 0 and re.search(r"^ok +train, save, load: 2 steps", said.out, re.M)
    assert "FAIL" not in said.out


def test_doctor_fails_where_something_is_wrong(maestro, monkeypatch):
    from pipelines import doctor

    monkeypatch.setattr(doctor, "NEEDED_GB", 1e9)
    said = maestro("doctor")
    assert said.code == 1 and "FAIL disk:" in said.out


def test_enable_lists_a_recipe_on_a_dataset(maestro, project):
    list_plainly(project)
    add_dataset(project, "other")
    (project / "experiments" / "recipes" / "second.yaml").write_text("{}\n")
    said = maestro("enable", "second", "--dataset", "other")
    assert said.code == 0 and "params.yaml lists second on other. Next: dvc repro evaluate@second (" in said.out, said
    assert "moved" not in said.out
    found = yaml.safe_load((project / "params.yaml").read_text())
    assert found["datasets"] == ["tiny", "other"]
    assert found["recipes"]["second"] == {"dataset": "other", "modality": "image"} and "tiny" in found["recipes"]
    add_dataset(project, "tiny")
    assert maestro("enable", "second", "--dataset", "tiny").out.startswith("second moved from other to tiny: ")


def test_enable_leaves_a_file_laid_out_otherwise_alone(maestro, project):
    add_dataset(project, "other")
    before = (project / "params.yaml").read_text()
    refused(maestro("enable", "tiny", "--dataset", "other"), "add tiny under recipes and other under datasets yourself")
    assert (project / "params.yaml").read_text() == before


def test_enable_of_an_unknown_or_wrong_recipe_or_dataset_is_refused(maestro, project):
    list_plainly(project)
    add_dataset(project, "tiny")
    (project / "experiments" / "recipes" / "wrong.yaml").write_text("masking: {rato: 0.5}\n")
    (project / "experiments" / "datasets" / "wrong.yaml").write_text("modality: [\n")
    before = (project / "params.yaml").read_text()
    refused(maestro("enable", "tinny", "--dataset", "tiny"), r"no recipe 'tinny' \(did you mean 'tiny'\?\)")
    refused(maestro("enable", "tiny", "--dataset", "tinny"), r"no dataset 'tinny' \(did you mean 'tiny'\?\)")
    refused(maestro("enable", "wrong", "--dataset", "tiny"), r"unknown key 'masking\.rato'")
    refused(maestro("enable", "tiny", "--dataset", "wrong"), r"wrong\.yaml")
    assert (project / "params.yaml").read_text() == before


@pytest.mark.parametrize("folder", ["nowhere", "empty", "a file"])
def test_init_of_what_holds_no_pictures_is_refused(maestro, project, folder):
    (project / "empty").mkdir()
    (project / "a file").write_text("x")
    refused(maestro("init", folder, "--name", "mine"), folder)
    assert not (project / "experiments" / "datasets" / "mine.yaml").exists()


def test_init_makes_a_dataset_and_a_recipe(maestro, project):
    list_plainly(project)
    random = np.random.default_rng(0)
    for kind in ("cats", "dogs"):
        (project / "pets" / kind).mkdir(parents=True)
        for number in range(12):
            image = Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8))
            image.save(project / "pets" / kind / f"{number}.png")
    said = maestro("init", project / "pets")
    assert said.code == 0, said
    assert "pets" in yaml.safe_load((project / "params.yaml").read_text())["recipes"]
    assert (project / "experiments" / "datasets" / "pets.yaml").is_file()
    assert (project / "experiments" / "recipes" / "pets.yaml").is_file()


def test_reconstruct_writes_a_picture_and_says_how_good(maestro, model, pictures, project):
    files = sorted(pictures.glob("*.png"))
    said = maestro("reconstruct", model, *files, "--out", "grid.png", "--ratio", "0.5", "--strategy", "grid")
    assert said.code == 0, said
    assert len(re.findall(r"PSNR of hidden pixels [\d.]+ dB", said.out)) == 3
    assert "set aside" in said.out and "broken.png" in said.out
    with Image.open(project / "grid.png") as image:
        assert image.format == "PNG" and min(image.size) >= 3 * 8


def test_reconstruct_refuses_what_it_cannot_do(maestro, model, pictures):
    picture = pictures / "0.png"
    refused(maestro("reconstruct", model, pictures / "broken.png", "--out", "r.png"), "no usable picture")
    refused(maestro("reconstruct", model, pictures / "none.png", "--out", "r.png"), "no usable picture")
    refused(maestro("reconstruct", "models/none", picture, "--out", "r.png"), "is no model folder")
    refused(maestro("reconstruct", model, picture, "--out", "r.png", "--ratio", "1.5"), r"mask ratio 1\.5 is outside")
    refused(maestro("reconstruct", model, picture, "--out", "r.png", "--strategy", "blok"), "did you mean 'block'")


def test_embed_writes_a_row_for_every_picture(maestro, model, pictures):
    said = maestro("embed", model, pictures, "--out", "features.parquet")
    assert said.code == 0 and "set aside" in said.out, said
    table = pd.read_parquet("features.parquet")
    assert table["origin"].tolist() == ["0.png", "1.png", "2.png"]
    raw = torch.from_numpy(np.asarray(Image.open(pictures / "0.png")).copy())[None, None]
    expected = MaskedAutoencoder.load(model).encode(raw)[0].detach().numpy()
    found = table.loc[0, [f"f{i}" for i in range(16)]].to_numpy(dtype=np.float32)
    np.testing.assert_allclose(found, expected, rtol=2e-2, atol=2e-2)


def test_embed_takes_a_prepared_dataset(maestro, model, project):
    assert maestro("embed", model, "data/tiny", "--out", "features.parquet").code == 0
    table = pd.read_parquet("features.parquet")
    assert len(table) == 240 and set(table["split"]) == {"train", "validation", "test"}
    assert set(table["label"]) == {0, 1, 2} and table.filter(regex=r"^f\d+$").shape[1] == 16


def test_embed_refuses_what_it_cannot_read(maestro, model, project):
    refused(maestro("embed", model, "nowhere", "--out", "f.parquet"), "nowhere is neither a prepared dataset")
    write_dataset(project, "damaged")
    (project / "data" / "damaged" / "test-samples.npy").write_bytes(b"not numpy")
    refused(maestro("embed", model, "data/damaged", "--out", "f.parquet"), "test-samples.npy cannot be read")
    assert not Path("f.parquet").exists()


@pytest.mark.parametrize(("layout", "to"), [("native", "copy"), ("official", "model.pth"), ("huggingface", "hf")])
def test_a_model_goes_out_and_comes_back_the_same(maestro, model, layout, to):
    said = maestro("export", model, to, "--layout", layout)
    assert said.code == 0 and f"{to} ({layout})" in said.out, said
    heads = ("--heads", "2", "--decoder-heads", "2") if layout == "official" else ()
    said = maestro("import", to, "back", "--layout", layout, *heads)
    assert said.code == 0, said
    raw = torch.randint(0, 256, (2, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    one, other = MaskedAutoencoder.load(model), MaskedAutoencoder.load("back")
    if layout == "native":
        assert torch.equal(one.encode(raw), other.encode(raw))
    ours, theirs = dict(one.named_parameters()), dict(other.named_parameters())
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_export_and_import_refuse_in_a_line(maestro, model, project):
    refused(
        maestro("export", model, "out", "--layout", "offical"),
        r"unknown layout 'offical' \(did you mean 'official'\?\)",
    )
    refused(maestro("export", "models", "out"), "is no model folder")
    (project / "mine").mkdir()
    (project / "mine" / "thesis.txt").write_text("years of work")
    refused(maestro("export", model, "mine"), "mine exists and is no model folder, so it is not replaced")
    assert (project / "mine" / "thesis.txt").read_text() == "years of work"
    for junk in (b"nothing", b"junk"):
        (project / "bad.pth").write_bytes(junk)
        refused(maestro("import", "bad.pth", "back"), r"bad\.pth")
    refused(maestro("import", "none.pth", "back"), r"none\.pth")


@pytest.mark.parametrize("change", ['{"schema": 1}', "[]", "{", '{"schema": 2}'])
def test_a_damaged_model_folder_is_one_line(maestro, model, pictures, change):
    (model / "config.json").write_text(change)
    refused(maestro("reconstruct", model, pictures / "0.png", "--out", "r.png"), "config.json")


def test_mlflow_backfill_without_mlflow_writes_nothing(maestro):
    said = maestro("mlflow-backfill")
    assert said.code in (0, 1) and "Traceback" not in said.err
    assert said.out.startswith("0 runs") or said.err.startswith("error: ")


def test_a_traceback_is_shown_to_those_who_ask_for_one(maestro, monkeypatch):
    monkeypatch.setenv("MAESTRO_TRACEBACK", "1")
    with pytest.raises(ValueError, match="tinny"):
        maestro("plan", "tinny")
