"""Checkpoints: exact, atomic, checked; a damaged one is passed over, another run's refused."""

import json
import shutil
import threading

import pytest
import torch
from safetensors.torch import load_file, save_file

from mae_core.training.loop import Settings, fit, start
from mae_core.training.state import CheckpointError, Saver, load_checkpoint, save_checkpoint

SETTINGS = Settings(steps=4, batch_size=4, lr=1e-3, ema=0.9, precision="fp32")


@pytest.fixture
def run(make_config, make_raw, tmp_path):
    """A run of 4 steps with a checkpoint after each; returns its state."""
    state = start(make_config(), SETTINGS)
    for _ in fit(state, make_raw(12, make_config()).numpy(), SETTINGS, report_every=1):
        save_checkpoint(state, tmp_path, "this")
    return state


@pytest.fixture
def fresh(make_config):
    return start(make_config(), SETTINGS)


def same(a, b):
    a, b = a.tensors(), b.tensors()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_everything_comes_back_bit_equal(run, fresh, tmp_path):
    assert not same(run, fresh)
    run.nonfinite_steps = 3
    save_checkpoint(run, tmp_path, "this")
    assert load_checkpoint(fresh, tmp_path, "this") == 4
    assert same(run, fresh)
    assert (fresh.step, fresh.nonfinite_steps) == (4, 3)


def test_it_holds_weights_moments_and_averages_as_data_alone(run, tmp_path):
    names = load_file(str(tmp_path / "step-00000004" / "state.safetensors")).keys()
    kinds = {name.removesuffix(".head.weight") for name in names if name.endswith(".head.weight")}
    assert kinds == {"model", "ema", "optimizer.exp_avg", "optimizer.exp_avg_sq", "optimizer.step"}
    assert {path.name for path in (tmp_path / "step-00000004").iterdir()} == {"state.safetensors", "meta.json"}


def test_the_last_two_are_kept(run, tmp_path):
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]


def test_no_checkpoint_is_step_zero(fresh, tmp_path):
    assert load_checkpoint(fresh, tmp_path / "nothing", "this") == 0


def flip_a_byte(folder):
    path = folder / "state.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_weights(folder):
    path = folder / "state.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def change_meta(**values):
    def change(folder):
        path = folder / "meta.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


DAMAGES = {
    "a flipped byte": (flip_a_byte, "checksum"),
    "cut weights": (cut_weights, "checksum"),
    "no weights": (lambda folder: (folder / "state.safetensors").unlink(), "No such file"),
    "no meta": (lambda folder: (folder / "meta.json").unlink(), "No such file"),
    "cut meta": (lambda folder: (folder / "meta.json").write_text('{"schema": 1, '), "damaged"),
    "meta of another shape": (lambda folder: (folder / "meta.json").write_text("[]"), "damaged"),
    "another schema": (change_meta(schema=99), "schema 99, this version reads 1"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_passed_over_for_the_older(run, fresh, tmp_path, damage):
    spoil, words = DAMAGES[damage]
    spoil(tmp_path / "step-00000004")
    with pytest.warns(UserWarning, match=words):
        assert load_checkpoint(fresh, tmp_path, "this") == 3
    assert fresh.step == 3 and not same(run, fresh)


def test_where_all_are_damaged_it_says_so(run, fresh, tmp_path):
    before = fresh.tensors()
    for folder in tmp_path.iterdir():
        flip_a_byte(folder)
    with (
        pytest.warns(UserWarning),
        pytest.raises(CheckpointError, match=r"no checkpoint below .* is whole .*step-00000004"),
    ):
        load_checkpoint(fresh, tmp_path, "this")
    assert all(torch.equal(value, before[name]) for name, value in fresh.tensors().items())


def test_another_runs_checkpoint_is_refused(run, fresh, tmp_path):
    with pytest.raises(CheckpointError, match=r"another run \(fingerprint this, this one is that\)"):
        load_checkpoint(fresh, tmp_path, "that")
    assert fresh.step == 0


def test_a_half_written_one_is_never_seen(run, fresh, tmp_path):
    """What a killed writer leaves is hidden by its name."""
    shutil.copytree(tmp_path / "step-00000004", tmp_path / ".step-00000005.killed")
    assert load_checkpoint(fresh, tmp_path, "this") == 4


def test_only_the_rank_that_writes_writes(run, tmp_path):
    with Saver(tmp_path / "other", "this", write=False) as saver:
        saver.save(run)
    assert not (tmp_path / "other").exists()


def test_the_training_may_go_on_while_a_checkpoint_is_written(run, fresh, tmp_path, monkeypatch):
    told = threading.Event()

    def slowly(*given):
        assert told.wait(10)
        save_file(*given)

    monkeypatch.setattr("mae_core.training.state.save_file", slowly)
    before = run.tensors()
    with Saver(tmp_path / "other", "this") as saver:
        saver.save(run)
        with torch.no_grad():
            for parameter in run.model.parameters():
                parameter.add_(1.0)
        run.step = 99
        assert not list((tmp_path / "other").glob("step-*"))
        told.set()
    assert load_checkpoint(fresh, tmp_path / "other", "this") == 4
    assert all(torch.equal(value, before[name]) for name, value in fresh.tensors().items())


def test_what_fails_while_it_is_written_is_raised(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError), Saver(tmp_path / "file", "this") as saver:
        saver.save(run)
    with pytest.raises(FileExistsError), Saver(tmp_path / "file", "this") as saver:
        saver.save(run)
        saver.save(run)
        raise AssertionError("the second save had to raise what the first met")


def test_averaged_weights_follow_with_the_stated_decay(fresh):
    fresh.step = 10_000
    name, parameter = next(iter(fresh.model.named_parameters()))
    before = fresh.ema[name].clone()
    with torch.no_grad():
        parameter.add_(1.0)
    fresh.update_ema(0.9)
    torch.testing.assert_close(fresh.ema[name], before + 0.1)
    fresh.step = 0
    fresh.update_ema(0.9)  # early on a tenth of the past stays, whatever was asked for
    torch.testing.assert_close(fresh.ema[name], before + 0.1 + 0.9 * 0.9)
