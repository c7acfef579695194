"""Parts to joint samples and back, what a plan means to one part, and what is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from shards import sharded
from torch import Tensor

from mae_core.cells import Plan
from mae_core.data.augment import Augmentation
from mae_core.draws import Draws
from mae_core.evaluation import imputers
from mae_core.modalities.joint import BLANK, JointModality
from mae_core.model import MaskedAutoencoder

PICTURE = {"channels": 3, "size": [8, 8], "patch": 4, "mean": [0.5] * 3, "std": [0.2] * 3}
WORDS = {"context": 6, "tokens": {"kind": "characters", "known": " abcde"}, "log_shares": [-2.0] * 7}
PARTS = [{"name": "picture", "kind": "image", **PICTURE}, {"name": "words", "kind": "text", **WORDS}]
PIXELS, CELLS = 192, 4
INFO = {
    "parts": [
        {
            "name": "picture",
            "kind": "image",
            "sample": {"shape": [3, 8, 8], "dtype": "uint8"},
            "mean": [0.5] * 3,
            "std": [0.2] * 3,
        },
        {"name": "words", "kind": "text", "sample": {"shape": [6], "dtype": "int32"}, **WORDS},
    ]
}


def joint() -> JointModality:
    made = JointModality(16, PARTS)
    made.init_weights()
    return made


def samples(n: int = 3) -> Tensor:
    """A whole one, one without words, one without a picture; texts of 4 tokens."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, PIXELS), generator=generator).float()
    ids = torch.randint(1, 7, (n, 6), generator=generator).float()
    ids[:, 4:] = -1
    raw = torch.cat([pixels, ids], 1)
    raw[1::3, PIXELS:] = float("nan")
    raw[2::3, :PIXELS] = float("nan")
    return raw


def model(objective: dict | None = None) -> MaskedAutoencoder:
    config = {
        "modality": {"kind": "joint", "parts": PARTS},
        "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
        "decoder": {"kind": "joint", "width": 16, "depth": 1, "heads": 2},
        "masking": {"strategy": "dirichlet", "ratio": 0.5},
        "objective": {"reconstruction": 1.0, "target": "parts", **(objective or {})},
    }
    return MaskedAutoencoder.build(config).eval()


def test_cells_lie_behind_one_another():
    cells = joint().split(samples())
    assert cells.kind.tolist() == [0] * 4 + [1] * 6
    assert cells.coords.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], *[[0, i] for i in range(6)]]
    assert cells.valid.sum(1).tolist() == [8, 4, 4]
    assert cells.valid[1, :4].all() and cells.valid[2, 4:8].all()
    assert cells.values[0].values.shape == (3, 4, 48) and cells.values[1].values.shape == (3, 6)


def test_parts_come_back_exactly():
    modality, raw = joint(), samples()
    picture, words = modality.pull(raw, 0), modality.pull(raw, 1)
    assert picture.dtype == torch.uint8 and words.dtype == torch.int32
    assert torch.equal(picture[0].flatten().float(), raw[0, :PIXELS]) and (picture[2] == 0).all()
    back = modality.push(raw, [picture, words])
    torch.testing.assert_close(back, raw, equal_nan=True, rtol=0, atol=0)


def test_only_takes_the_other_parts_away():
    modality, raw = joint(), samples(1)
    found = modality.only(raw, "words")
    assert found[:, :PIXELS].isnan().all() and torch.equal(found[:, PIXELS:], raw[:, PIXELS:])
    with pytest.raises(ValueError, match="no part sound: there are picture, words"):
        modality.only(raw, "sound")


def test_embed_is_each_parts_own_and_a_vector_of_the_kind():
    modality, raw = joint(), samples(1)
    cells = modality.split(raw)
    keep = torch.tensor([[5, 2, 9, 0]])
    ok = torch.tensor([[True, True, False, True]])
    found = modality.embed(cells, keep, ok)
    picture = modality.parts[0].embed(cells.values[0]) + modality.kind_embedding[0]
    words = modality.parts[1].embed(cells.values[1]) + modality.kind_embedding[1]
    torch.testing.assert_close(found[0, 0], words[0, 1])
    torch.testing.assert_close(found[0, 1], picture[0, 2])
    torch.testing.assert_close(found[0, 3], picture[0, 0])
    torch.testing.assert_close(modality.embed(cells), torch.cat([picture, words], 1))


@pytest.mark.parametrize("hide", [[[4, 0, 5]], [[0, 4, 5]], [[6, 5, 4]], [[3, 2, 0]]])
def test_a_plan_as_a_part_sees_it(hide):
    """Places of another part repeat a place of one's own; so nothing depends on the order of scattering."""
    layout = joint().layout
    plan = Plan(torch.tensor([[1]]), torch.tensor(hide), None, torch.tensor([[True, True, True]]))
    for part, cells in enumerate(layout.cells):
        found = layout.plan_of(plan, part)
        own = {i - cells.start for i in hide[0] if cells.start <= i < cells.stop}
        assert found.hide_ok.all() == bool(own) and found.hide_ok.any() == bool(own)
        assert not own or set(found.hide[0].tolist()) == own


def test_paste_puts_every_value_where_it_belongs():
    modality, raw = joint(), samples(1)
    cells = modality.split(raw)
    plan = Plan(torch.tensor([[1, 4]]), torch.tensor([[5, 0, 3, 7, 2]]))
    values = torch.zeros(1, 5, 48)
    values[0, [1, 2, 4]] = cells.values[0].values[0, [0, 3, 2]]
    values[0, [0, 3], 0] = cells.values[1].values[0, [1, 3]].float()
    assert torch.equal(modality.paste(raw, values, plan), raw)
    values[0, 0, 0] = 6
    changed = modality.paste(raw, values, plan)
    assert changed[0, PIXELS + 1] == 6 and (changed != raw).sum() <= 1


def test_covers_nothing_of_a_part_that_is_not_there():
    modality, raw = joint(), samples()
    everything = torch.arange(10).expand(3, -1)
    found = modality.covers(raw, everything)
    assert found.sum(1).tolist() == [PIXELS + 4, PIXELS, 4]
    assert not found[raw.isnan()].any()


def test_alone_keeps_one_part_and_equals_taking_the_others_away():
    made, raw = model(), samples()
    cells = made.modality.split(raw)
    for name, plan in made.modality.alone(cells).items():
        apart = made.encoder(made.modality, cells, plan).pooled
        torch.testing.assert_close(apart, made.encode(made.modality.only(raw, name)), rtol=1e-4, atol=1e-5)


def test_facts_are_of_the_samples_that_have_the_part():
    raw = samples(6).numpy()
    described = {
        "parts": [{k: v for k, v in part.items() if k not in ("mean", "std", "log_shares")} for part in INFO["parts"]]
    }
    found = JointModality.facts(raw, np.array([0, 2, 3, 4]), described)
    picture, words = found.entries["parts"]
    seen = raw[[0, 3, 4], :PIXELS].reshape(3, 3, 64) / 255
    np.testing.assert_allclose(picture["mean"], seen.mean((0, 2)), atol=1e-5)
    assert words["lengths"] == {"shortest": 4, "median": 4, "longest": 4}
    assert "1 of 4 training samples lack picture" in found.notes
    with pytest.raises(ValueError, match="no training sample has the part 'words'"):
        JointModality.facts(raw, np.array([1, 4]), described)


def test_a_patch_for_each_part():
    assert JointModality.default_patch(INFO) == {"picture": 2, "words": 1}
    made = JointModality.configure(INFO, {"picture": 4})
    assert [part["name"] for part in made["parts"]] == ["picture", "words"] and made["parts"][0]["patch"] == 4
    assert JointModality(16, **made).cells == 10 and JointModality.geometry(made).cells == 10
    assert JointModality.misfit(INFO, {"picture": 3}) == "picture: it does not divide images of 8x8"
    assert JointModality.misfit(INFO, {"picture": 2}) == "" and "by name" in JointModality.misfit(INFO, 4)
    with pytest.raises(ValueError, match="of picture, words"):
        JointModality.configure(INFO, {"sound": 4})


def test_plain_features_stand_behind_one_another():
    found = JointModality.plain(samples().numpy(), INFO)
    assert found.shape == (3, PIXELS + 2048) and found.dtype == np.float32
    assert (found[1, PIXELS:] == 0).all() and (found[2, :PIXELS] == 0).all()
    for part, there in ((found[:, :PIXELS], [1, 1, 0]), (found[:, PIXELS:], [1, 0, 1])):
        np.testing.assert_allclose(np.linalg.norm(part, axis=1), there, rtol=1e-6, err_msg="none drowns another")


def test_a_file_is_read_by_the_part_that_can():
    modality = joint()
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (9, 8, 7)).save(buffer, "PNG")
    picture, text = modality.read(buffer.getvalue()), modality.read(b"bad cab")
    assert picture.shape == (1, PIXELS + 6) and picture[0, 0] == 9 and np.isnan(picture[0, PIXELS:]).all()
    assert text.shape == (2, PIXELS + 6) and np.isnan(text[:, :PIXELS]).all() and not np.isnan(text[:, PIXELS:]).any()
    with pytest.raises(ValueError, match=r"as picture: .*; as words: "):
        modality.read(b"\xff\xfe\x00")
    assert modality.noun == "picture or text" and {".png", ".txt"} <= modality.suffixes


def test_differs():
    modality = joint()
    assert modality.differs(INFO) == ""
    assert modality.differs({"parts": INFO["parts"][:1]}) == "its parts are picture instead of picture, words"
    other = [INFO["parts"][0], {**INFO["parts"][1], "tokens": {"kind": "characters", "known": "xyz"}}]
    assert modality.differs({"parts": other}).startswith("words: ")


def test_looks():
    made, raw = model(), samples()
    found = made.reconstruct(raw, seed=1)
    assert (found.masked[found.hidden] == BLANK).all()
    assert made.modality.picture(raw, found.masked, found.filled).ndim == 3
    shown = made.modality.render(found.masked)
    assert shown.dtype == torch.uint8 and shown.shape[0] == 3 and shown.shape[3] == 3
    assert (shown[2, :, :8] == 255).all(), "no picture, so it is white"
    words = made.modality.words(raw)
    assert len(words[0]) == 4 and words[1] == ""


def test_measures_fills_and_constants_are_each_parts_own():
    made, raw = model(), samples()
    found = made.reconstruct(raw, seed=1)
    measured = made.modality.quality(found.filled, raw, found.hidden)
    assert {"psnr_hidden/picture", "accuracy_hidden/words"} <= set(measured)
    assert np.isnan(measured["psnr_hidden/picture"][2]) and np.isnan(measured["accuracy_hidden/words"][1])
    fills = made.modality.fills(raw, found.hidden)
    of_words = {"unigram_fill"}
    assert set(fills) == {"mean_fill", "harmonic_fill", "constant_fill", *of_words}
    trivial = made.modality.trivial(raw, found.hidden)
    for name, filled in {**fills, "trivial": trivial}.items():
        lacking = torch.zeros_like(raw, dtype=torch.bool)
        if name != "trivial":
            lacking[:, : PIXELS if name in of_words else None] = name in of_words
            lacking[:, PIXELS:] |= name not in of_words
        assert torch.equal(filled.isnan(), raw.isnan() | lacking), name
        same = ~found.hidden & ~filled.isnan()
        assert torch.equal(filled[same], raw[same])
    assert torch.equal(fills["constant_fill"][:2, :PIXELS], trivial[:2, :PIXELS])
    for name, filled in fills.items():
        said = made.modality.quality(filled, raw, found.hidden)
        told = {measure for measure, values in said.items() if not np.isnan(values).all()}
        assert told and {measure.partition("/")[2] for measure in told} == {"words" if name in of_words else "picture"}


def test_what_learns_from_train_takes_rows_of_it(tmp_path, monkeypatch):
    """Rows of those samples alone that have the part, out of shards as out of an array."""
    example = JointModality.examples()["three"]
    modality, raw = JointModality(16, **example.config), example.raw(90, torch.Generator().manual_seed(0))
    row = modality.layout.entries[modality.names.index("row")]
    raw[10:70:3, row] = float("nan")
    train, asked = raw[10:], raw[:10]
    hidden = modality.covers(asked, torch.arange(modality.cells)[::2].expand(10, -1))
    monkeypatch.setattr(imputers, "MOST_ROWS", 30)
    found = modality.fills_from(asked, hidden, sharded(tmp_path / "d", train.numpy()))
    assert set(found) == {"knn_fill", "ridge_fill"}
    table = modality.parts[modality.names.index("row")]
    own = train[~train[:, row].isnan().all(1), row].numpy()
    for name, filled in table.fills_from(asked[:, row], hidden[:, row], own).items():
        assert torch.equal(found[name][:, row].nan_to_num(-1), filled.nan_to_num(-1))
        assert torch.equal(
            modality.fills_from(asked, hidden, train.numpy())[name].nan_to_num(-1), found[name].nan_to_num(-1)
        )


def test_augmenting_changes_pictures_alone():
    modality, raw = joint(), samples()
    found = modality.augment(raw, Draws(0, 0, torch.arange(3)), Augmentation(crop=0.5, color_jitter=1.0))
    assert torch.equal(found[:, PIXELS:].nan_to_num(), raw[:, PIXELS:].nan_to_num())
    assert not torch.equal(found[0, :PIXELS], raw[0, :PIXELS]) and found[2, :PIXELS].isnan().all()
    assert modality.augment(raw, Draws(0, 0, torch.arange(3)), Augmentation()) is raw


def test_a_flip_leaves_series_as_they_are():
    curve = {"name": "curve", "kind": "series", "channels": 1, "length": 16, "patch": 4, "mean": [0.0], "std": [1.0]}
    modality = JointModality(16, [PARTS[0], curve])
    raw = torch.arange(20.0 * (PIXELS + 16)).remainder(251).view(20, -1)
    found = modality.augment(raw, Draws(0, 0, torch.arange(20)), Augmentation(flip=True))
    assert torch.equal(found[:, PIXELS:], raw[:, PIXELS:]) and not torch.equal(found[:, :PIXELS], raw[:, :PIXELS])


@pytest.mark.parametrize("present", ["picture", "words"])
def test_a_sample_with_one_part_trains(present):
    made = model({"contrastive": 0.1})
    raw = made.modality.only(samples(1), present)
    terms = made(raw, Draws(0, 0, torch.arange(1)))
    terms.total.backward()
    assert torch.isfinite(terms.total) and int(terms.hidden) == 2
    assert all(torch.isfinite(p.grad).all() for p in made.parameters() if p.grad is not None)
    filled = made.reconstruct(raw).filled
    assert torch.equal(filled.isnan(), raw.isnan())


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (PARTS[:1], "two or more"),
        ([PARTS[0], PARTS[0]], "its own name"),
        ([PARTS[0], {**PARTS[1], "context": 1}], "part words: context 1"),
        ([PARTS[0], {"name": "all", "kind": "joint", "parts": PARTS}], "itself joint"),
    ],
)
def test_parts_that_make_no_sense(parts, message):
    with pytest.raises(ValueError, match=message):
        JointModality(16, parts)


def test_wrong_samples_are_refused():
    with pytest.raises(ValueError, match="takes \\(B, 198\\)"):
        joint().split(torch.zeros(1, 5))
    with pytest.raises(TypeError, match="float32"):
        joint().split(torch.zeros(1, 198, dtype=torch.uint8))


def test_an_objective_of_parts_is_for_joint_samples():
    config = {**model().config, "modality": {"kind": "image", **PICTURE}}
    config["masking"] = {"strategy": "random", "ratio": 0.5}
    config["objective"] = {"reconstruction": 1.0, "contrastive": 0.1, "target": "pixels"}
    with pytest.raises(ValueError, match="objective 'contrastive' does not fit the modality 'image'"):
        MaskedAutoencoder.build(config)
