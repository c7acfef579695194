"""A schedule played from the start gives the weights of the members that went its way, and what it hides is what it says."""

import numpy as np
import pytest
import torch
from search_project import make_dataset

from experiments.schedules import Leg, Part, play, set_ratio
from mae_core.data.dataset import open_dataset
from mae_core.training.loop import Settings, start
from mae_core.training.state import CheckpointError

CONFIG = {
    "modality": {"kind": "image", "channels": 1, "size": [16, 16], "patch": 4, "mean": [0.4], "std": [0.3]},
    "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
    "decoder": {"kind": "joint", "width": 8, "depth": 1, "heads": 2},
    "masking": {"strategy": "random", "ratio": 0.5},
    "objective": {"reconstruction": 1.0, "target": "pixels"},
}
SETTINGS = Settings(steps=12, batch_size=8, lr=0.002, ema=0.9, precision="fp32")
PARTS = [Part(4, 0.75, 0.002), Part(8, 0.25, 0.004), Part(12, 0.5, 0.001)]


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> np.ndarray:
    folder = tmp_path_factory.mktemp("schedules") / "bars"
    make_dataset(folder)
    return open_dataset(folder).split("train").samples


def weights(state) -> torch.Tensor:
    return torch.cat([p.flatten() for p in state.model.parameters()]).clone()


def played(samples, parts, source=None, target=None):
    state = start(CONFIG, SETTINGS)
    list(play(state, samples, SETTINGS, Leg(parts, source, target), CONFIG))
    return state


def test_the_way_of_members_played_again_gives_their_weights(samples, tmp_path):
    folders = [str(tmp_path / f"round-{number}") for number in range(3)]
    for number, part in enumerate(PARTS):
        state = played(samples, [part], folders[number - 1] if number else None, folders[number])
        state.result()  # scoring puts the averaged weights in place of the others, after they were saved
    whole = played(samples, PARTS)
    end = played(samples, [], folders[2])
    assert torch.equal(weights(whole), weights(end)) and whole.step == end.step == 12
    assert not torch.equal(weights(whole), weights(played(samples, [Part(12, 0.5, 0.002)])))


def test_each_part_hides_its_share_at_its_rate(samples):
    state, seen = start(CONFIG, SETTINGS), []
    for progress in play(state, samples, SETTINGS, Leg(PARTS), CONFIG):
        seen.append((progress.step, state.model.ratio, progress.lr))
    assert [ratio for step, ratio, _ in seen if step in (4, 8, 12)] == [0.75, 0.25, 0.5]
    peaks = {step: lr for step, _, lr in seen}
    plain = start(CONFIG, SETTINGS)
    constant = {p.step: p.lr for p in play(plain, samples, SETTINGS, Leg([Part(12, 0.5, 0.002)]), CONFIG)}
    assert peaks[8] == pytest.approx(2 * constant[8]) and peaks[12] == pytest.approx(0.5 * constant[12])


def test_a_ratio_set_is_the_ratio_drawn():
    state = start(CONFIG, SETTINGS)
    set_ratio(state.model, CONFIG, 0.25)
    raw = torch.zeros(2, 1, 16, 16, dtype=torch.uint8)
    from mae_core.draws import Draws

    assert state.model(raw, Draws(0, 0, torch.arange(2))).per_cell.shape == (2, 4)


def test_a_source_that_is_gone_or_damaged_is_an_error(samples, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no checkpoint to go on from"):
        played(samples, PARTS, str(tmp_path / "nowhere"))
    played(samples, PARTS[:1], None, str(tmp_path / "one"))
    (whole,) = (tmp_path / "one").glob("step-*/state.safetensors")
    whole.write_bytes(whole.read_bytes()[:-8])
    with pytest.raises(CheckpointError), pytest.warns(UserWarning, match="damaged"):
        played(samples, PARTS, str(tmp_path / "one"))
