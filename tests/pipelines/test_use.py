"""``maestro reconstruct`` and ``maestro embed`` on files of every kind but pictures, which test_cli.py has."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mae_core.modalities import MODALITIES
from mae_core.modalities.panels import Sound
from mae_core.model import MaskedAutoencoder
from mae_core.registry import resolve
from pipelines.use import embed_files, reconstruct_files

EXAMPLES = {"audio": "any length", "text": "padded", "table": "mixed", "series": "three with gaps"}


@pytest.fixture
def made(tmp_path, request):
    """An untrained model of a kind, its folder, and two raw samples."""
    kind = resolve(MODALITIES, request.param, "modality")
    example = kind.examples()[EXAMPLES[request.param]]
    config = {
        "modality": {"kind": request.param, **example.config},
        "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
        "decoder": {"kind": "joint", "width": 16, "depth": 1, "heads": 2},
        "masking": {"strategy": "random", "ratio": 0.5},
        "objective": {"target": kind.default_target, "reconstruction": 1.0},
    }
    model = MaskedAutoencoder.build(config, seed=1)
    return model, model.save(tmp_path / "model"), example.raw(2, torch.Generator().manual_seed(3))


@pytest.mark.parametrize("made", ["audio"], indirect=True)
def test_sounds_are_written_beside_the_picture(made, tmp_path):
    model, folder, raw = made
    file = tmp_path / "a.wav"
    file.write_bytes(next(p for p in model.modality.view(raw)[0] if isinstance(p, Sound)).wav())
    said = reconstruct_files(folder, [file], tmp_path / "r.png", None, None, 0)
    assert "RMSE of hidden levels" in said and "r-restored.wav" in said
    for name in ("original", "masked", "restored"):
        with wave.open(str(tmp_path / f"r-{name}.wav")) as sound:
            assert sound.getframerate() == 8000 and sound.getnframes() > 0
    said = reconstruct_files(folder, [file, file], tmp_path / "two.png", None, None, 0)
    assert (tmp_path / "two-1-restored.wav").is_file() and Image.open(tmp_path / "two.png").size[0] > 100


@pytest.mark.parametrize("made", ["text"], indirect=True)
def test_texts_are_printed_with_what_was_filled_in_marked(made, tmp_path):
    _, folder, _ = made
    (tmp_path / "a.txt").write_text("abc deab cd")
    said = reconstruct_files(folder, [tmp_path / "a.txt"], tmp_path / "r.png", 0.5, None, 0)
    line = said.splitlines()[1]
    assert line.count("[") == line.count("]") == 6 and "right of hidden tokens" in said
    assert sorted(p.name for p in tmp_path.glob("r*")) == ["r.png"]


@pytest.mark.parametrize("made", ["table"], indirect=True)
def test_a_table_gets_what_it_lacks(made, tmp_path):
    _, folder, _ = made
    names = [f"column {i}" for i in range(7)]
    rows = [[1.5, "b", "", "a", 4, 2, "c"], ["", "", 2, "b", 4, "", "a"]]
    table = pd.DataFrame([[*row, "keep me"] for row in rows], columns=[*names, "note"])
    file = tmp_path / "people.csv"
    table.to_csv(file, index=False)
    before = file.read_bytes()
    said = reconstruct_files(folder, [file], tmp_path / "people.png", None, None, 0)
    assert "people-filled.csv" in said and " to " in said and file.read_bytes() == before
    filled = pd.read_csv(tmp_path / "people-filled.csv")
    assert not filled.isna().any().any() and filled["note"].eq("keep me").all()
    assert filled.loc[1, "column 1"] in ("a", "b", "c") and np.isfinite(filled.loc[0, "column 2"])
    known = table.ne("").to_numpy()
    assert (filled.astype(str).to_numpy()[known] == pd.read_csv(file).astype(str).to_numpy()[known]).all()


@pytest.mark.parametrize("made", ["series"], indirect=True)
def test_a_series_gets_what_it_lacks_and_no_more(made, tmp_path):
    _, folder, _ = made
    (tmp_path / "x.csv").write_text("a,b,c\n" + "1,5,-20\n" * 4 + ",5.5,-20\n1,,\n")
    (tmp_path / "whole.csv").write_text("1,5,-20\n" * 12)
    files = [tmp_path / "x.csv", tmp_path / "whole.csv"]
    said = reconstruct_files(folder, files, tmp_path / "r.png", None, None, 0)
    assert "r-filled-x.csv" in said and "r-filled-whole" not in said
    lines = (tmp_path / "r-filled-x.csv").read_text().splitlines()
    assert len(lines) == 7 and lines[:5] == ["a,b,c"] + ["1,5,-20"] * 4
    assert all(np.isfinite(float(field)) for line in lines[5:] for field in line.split(","))
    assert lines[5].endswith(",5.5,-20") and lines[6].startswith("1,")


@pytest.mark.parametrize("made", ["series"], indirect=True)
def test_files_named_alike_are_filled_side_by_side(made, tmp_path):
    _, folder, _ = made
    files = [tmp_path / "a" / "x.csv", tmp_path / "b" / "X.csv", tmp_path / "0-x.csv"]
    for value, file in enumerate(files):
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{value},5,-20\n" * 5 + f",5,-2{value}\n")
    said = reconstruct_files(folder, files, tmp_path / "r.png", None, None, 0)
    for value, (file, name) in enumerate(zip(files, ["r-filled-0-x.csv", "r-filled-1-X.csv", "r-filled-2-0-x.csv"])):
        assert f"{tmp_path / name}: {file} with predictions" in said
        lines = (tmp_path / name).read_text().splitlines()
        assert lines[0] == f"{value},5,-20" and lines[-1].endswith(f",5,-2{value}") and not lines[-1].startswith(",")


@pytest.mark.parametrize("made", list(EXAMPLES), indirect=True)
def test_features_come_from_a_folder_and_from_one_file(made, tmp_path):
    model, folder, raw = made
    files = tmp_path / "files"
    files.mkdir()
    text = model.modality.written(raw)
    sounds = [p for p in model.modality.view(raw)[0] if isinstance(p, Sound)]
    file: Path = files / ("a.wav" if sounds else "a.txt")
    file.write_bytes(sounds[0].wav() if sounds else text.encode())
    (files / "notes.bin").write_bytes(b"not one of them")
    tables = []
    for source in (files, file):
        embed_files(folder, source, tmp_path / "f.parquet")
        tables.append(pd.read_parquet(tmp_path / "f.parquet"))
    assert len(tables[0]) == len(model.modality.read(file.read_bytes()))
    assert (
        tables[0].filter(regex=r"^f\d+$").shape[1] == model.encode(raw).shape[1]
        and tables[0]["origin"].str.startswith(file.name).all()
    )
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.parametrize("made", ["series"], indirect=True)
def test_a_shorter_series_dataset_is_padded_and_another_kind_is_refused(made, tmp_path):
    _, folder, raw = made

    data = tmp_path / "data"
    data.mkdir()
    info = {"schema": 1, "name": "data", "modality": "series", "classes": [], "fingerprint": "00"}
    info |= {"sample": {"shape": [3, 10], "dtype": "float32"}, "splits": {}}
    for split in ("train", "validation", "test"):
        np.save(data / f"{split}-samples.npy", raw[:, :, :10].numpy())
        np.save(data / f"{split}-labels.npy", np.full(2, -1))
        (data / f"{split}-names.json").write_text('["a", "b"]')
        info["splits"][split] = {"samples": 2, "labelled": 0}
    (data / "dataset.json").write_text(json.dumps(info))
    assert "6 rows" in embed_files(folder, data, tmp_path / "f.parquet")
    (data / "dataset.json").write_text(json.dumps({**info, "modality": "table"}))
    with pytest.raises(ValueError, match="takes samples of modality series"):
        embed_files(folder, data, tmp_path / "f.parquet")
