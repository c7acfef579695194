"""A sweep as a command: what it refuses, what it publishes, and how long a training it takes."""

import json

import pytest
from project import write_dataset, write_recipe

from benchmarks import mask_ratio, sweep_command, variants
from benchmarks.training import Training
from benchmarks.variants import Trial


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    (folder / "experiments" / "recipes").mkdir(parents=True)
    write_dataset(folder)
    write_recipe(folder, "small")
    return folder


@pytest.fixture
def asked(root, tmp_path):
    """Options of the shortest sweep."""
    where = ["--root", str(root), "--out", str(tmp_path)]
    return ["--dataset", "tiny", "--recipe", "small", "--steps", "4", *where]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tuned-at", "4"], "--tuned-at 4: trials are to be shorter than the 4 steps"),
        (["--tuned-at", "2", "--finalists", "0"], "--finalists 0: at least 1"),
        (["--variants", "blok"], "--variants blok: the variants are random, grid"),
        (["--narrow", "blok"], "--narrow blok: the variants are random, grid"),
        (["--set", "maskin.ratio=.5"], "unknown key 'maskin' (did you mean 'masking'?)"),
        (["--set", "masking.looks.many=2"], "masking.looks.many: looks is a value and holds no keys"),
        (["--set", "masking.looks=none"], "masking.looks: Input should be a valid integer"),
        (["--set", "masking.looks"], "--set masking.looks: write KEY=VALUE"),
        (["--set", "masking.looks=["], "while parsing"),
        (["--set", "masking.ratio=0.5"], "--set masking.ratio=0.5: it would change nothing"),
        (["--set", "pretrain.steps=9"], "--set pretrain.steps=9: it would change nothing"),
        (["--set", "pretrain.seeds=[1]"], "--set pretrain.seeds=[1]: it would change nothing"),
        (["--set", "search.trials=1"], "--set search.trials=1: it would change nothing"),
        (["--set", "pretrain.init_from=models/none"], "none is no model folder"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_trained(options, said, asked, capsys, monkeypatch):
    monkeypatch.setattr(variants, "train", lambda *_: pytest.fail("trained"))
    with pytest.raises(SystemExit):
        mask_ratio.main([*asked, *options])
    assert said in capsys.readouterr().err


def test_data_without_trials_are_refused(asked, capsys):
    with pytest.raises(SystemExit):
        sweep_command.command_line("sounds", None, {"audio": mask_ratio.table("audio")}, asked)
    assert "--dataset tiny: it is of image, sounds has trials for audio" in capsys.readouterr().err


def test_a_budget_that_began_nothing_leaves_the_table_as_it_was(asked, tmp_path):
    with pytest.raises(SystemExit, match="nothing was compared within --most-minutes -1"):
        mask_ratio.main([*asked, "--most-minutes", "-1"])
    assert not list(tmp_path.glob("*.json"))


def test_a_command_publishes_its_table(asked, tmp_path):
    asked += ["--seeds", "1", "--most-seeds", "1", "--variants", "block", "--set", "model.encoder.depth=2"]
    mask_ratio.main(asked)
    rows = json.loads((tmp_path / "mask_ratio-tiny-4.json").read_text())["rows"]
    assert [row["name"] for row in rows[3:5]] == [
        "block_knn_accuracy_vs_random_75",
        "block_linear_accuracy_vs_random_75",
    ]
    assert "--set model.encoder.depth=2 --steps 4" in rows[0]["command"] and rows[3]["facts"]["trials"] == 5
    mask_ratio.main([*asked, "--named", "alone"])
    again = json.loads((tmp_path / "mask_ratio-tiny-4-alone.json").read_text())["rows"]
    assert [row["ours"] for row in again] == [row["ours"] for row in rows] and "--named alone" in again[0]["command"]


def test_a_gpu_has_done_what_it_was_given_before_the_clock_is_read(monkeypatch):
    waited = []
    monkeypatch.setattr("torch.cuda.synchronize", lambda: waited.append("cuda"))
    assert sweep_command.clock("cpu") < sweep_command.clock("cuda") and waited == ["cuda"]


def test_steps_are_measured_once_for_each_training(root, tmp_path, monkeypatch):
    write_recipe(root, "wide", model={"encoder": {"width": 32}})
    begin, begun = Training.begin, []
    monkeypatch.setattr(Training, "begin", lambda one: begun.append(one.device) or begin(one._replace(device="cpu")))
    monkeypatch.setattr("torch.cuda.synchronize", lambda: None)
    led = Trial({"masking.strategy": "policy", "masking.options": {"reward": "probe"}})
    plain = {"recipe": "small", "trial": Trial(), "minutes": 0.01, "device": "cpu"}
    for other in ({}, {"recipe": "wide"}, {"trial": led}, {"minutes": 0.02}, {"device": "cuda"}):
        recipe, trial, minutes, device = {**plain, **other}.values()
        training = variants.described(root, "tiny", recipe, trial, device)
        timed = len(begun)
        steps = sweep_command.steps_in(minutes, training, tmp_path)
        assert steps >= 1 and begun[timed:] == [device], f"timed anew for {other}"
        assert sweep_command.steps_in(minutes, training, tmp_path) == steps and len(begun) == timed + 1
