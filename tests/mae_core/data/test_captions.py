"""Pictures with their texts out of a table, and prepared datasets joined by class."""

import io

import numpy as np
import pytest
from PIL import Image

from mae_core.data.dataset import open_dataset
from mae_core.data.joining import Groups
from mae_core.data.pack import Rules, pack
from mae_core.data.sources import Part, Source, SourceError, captions, pairs

OPTIONS = {"table": "t.csv", "size": [4, 4], "channels": 3, "context": 8, "hold_out": {"validation": 0.2, "test": 0.2}}
COLOURS = ["red", "green", "blue", "black", "white", "grey", "pink", "brown"]


def png(seed: int, mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, len(mode)), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(), mode).save(buffer, "PNG")
    return buffer.getvalue()


def folder_of(tmp_path, rows, header="file,text,kind"):
    """A picture for each row that names one, and the table."""
    for i, row in enumerate(rows):
        file = row.split(",")[0]
        if file.endswith(".png") and not (tmp_path / file).exists():
            (tmp_path / file).write_bytes(png(i, "RGBA" if i % 3 == 0 else "RGB"))
    (tmp_path / "t.csv").write_text("\n".join([header, *rows]) + "\n")
    return tmp_path


def read(folder, **more):
    return captions.read(folder, **{**OPTIONS, "label": "kind", **more})


def words_of(source):
    """Split → its texts, decoded from the samples."""
    from mae_core.data.tokens import tokenizer_of

    pieces = tokenizer_of(source.described["parts"][1]["tokens"])
    return {p.name: [pieces.decode([int(i) for i in row[48:] if i >= 0]) for row in p.samples] for p in source.parts}


def test_pictures_and_texts_become_joint_samples(tmp_path):
    rows = [f"{i}.png,{colour},{'ab'[i % 2]}" for i, colour in enumerate(COLOURS)]
    found = read(folder_of(tmp_path, rows))
    assert [p.name for p in found.parts] == ["train", "validation", "test"] and found.classes == ["a", "b"]
    assert [len(p.samples) for p in found.parts] == [4, 2, 2]
    picture, words = found.described["parts"]
    assert picture["sample"] == {"shape": [3, 4, 4], "dtype": "uint8"} and words["sample"]["shape"] == [8]
    train = found.parts[0]
    assert train.samples.shape == (4, 56) and train.samples.dtype == np.float32
    assert "picture modes: RGB 5, RGBA 3" in found.notes
    at = int(train.names[0].removesuffix(".png"))
    assert train.labels[0] == at % 2
    if at % 3:
        from mae_core.data.images import decode_image

        expected = decode_image((tmp_path / train.names[0]).read_bytes(), (4, 4), 3)
        assert np.array_equal(train.samples[0, :48].reshape(3, 4, 4), expected)


def test_near_copies_stay_on_one_side(tmp_path):
    """Texts that differ in who is shown alone, and equal pixels; the same again whatever the order."""
    rows = [f"{i}{who}.png,{who} {job},a" for i, job in enumerate(COLOURS * 3) for who in ("man", "woman")]
    rows = [row.replace(job, f"{job} {i // 2}") for i, (row, job) in enumerate(zip(rows, np.repeat(COLOURS * 3, 2)))]
    folder = folder_of(tmp_path, [*rows, "x.png,one,a", "y.png,other,a"])
    (folder / "y.png").write_bytes((folder / "x.png").read_bytes())
    found = read(folder, alike=["man", "woman"], context=16)
    sides = {}
    for name, texts in ((p.name, p.names) for p in found.parts):
        for file in texts:
            sides.setdefault("xy" if file[0] in "xy" else file.removesuffix(".png").rstrip("manwo"), set()).add(name)
    assert all(len(side) == 1 for side in sides.values()) and len(sides) == 25
    assert "50 pairs in 25 groups that no split parts" in found.notes
    again = read(folder_of(tmp_path, ["y.png,other,a", "x.png,one,a", *rows[::-1]]), alike=["man", "woman"], context=16)
    assert [set(p.names) for p in again.parts] == [set(p.names) for p in found.parts]


def test_bad_rows_are_set_aside(tmp_path):
    rows = [f"{i}.png,{colour},a" for i, colour in enumerate(COLOURS)]
    bad = ["gone.jpg,x,a", "0.png,  ,a", "1.png,y", "../t.csv,z,a", "t.csv,q,a"]
    found = read(folder_of(tmp_path, rows + bad))
    reasons = sorted(item.reason for item in found.refused)
    assert reasons == ["no text", "not a picture", "outside the folder", "unreadable", "wrong number of fields"]
    assert sum(len(p.samples) for p in found.parts) == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"table": "gone.csv"}, "is missing"),
        ({"text": "name"}, "no column name: it has file, text, kind"),
        ({"context": 1}, "2 tokens or more"),
        ({"tokens": "words"}, "unknown tokens"),
        ({"hold_out": {"test": 0.5}}, "validation and test"),
        ({"hold_out": {"test": 0.5, "validation": 0.5}}, "leaves nothing"),
    ],
)
def test_what_cannot_be_read(tmp_path, change, message):
    folder_of(tmp_path, ["0.png,red,a"])
    with pytest.raises(SourceError, match=message):
        read(tmp_path, **change)


def test_groups_follow_chains():
    groups = Groups(6)
    groups.join(["a", "b", "a", None, "c", "c"])
    groups.join([1, 2, 3, None, 3, 4])
    found = groups.numbers()
    assert found[0] == found[2] == found[4] == found[5] and len(set(found.tolist())) == 3


@pytest.fixture
def prepared(tmp_path):
    """Two small datasets of three classes: grey pictures, and pictures of another shape."""
    for name, shape, sizes in (("small", (1, 2, 2), (6, 3, 3)), ("wide", (1, 2, 3), (30, 6, 9))):
        parts, base = [], 0
        for split, n in zip(("train", "validation", "test"), sizes):
            pixels = np.arange(base, base + n)[:, None, None, None] + np.zeros((1, *shape))
            parts.append(
                Part(split, pixels.astype(np.uint8), np.arange(n) % 3, [f"{name} {base + i}" for i in range(n)])
            )
            base += n
        pack(
            Source(parts, ["x", "y", "z"], [], 0, []), Rules(name, "image", "CC0", "a test", True, {}), tmp_path / name
        )
    return tmp_path


def test_samples_are_joined_by_class_within_splits(prepared):
    found = pairs.read(prepared, {"a": "small", "b": "wide"}, {"train": 3})
    assert [len(p.samples) for p in found.parts] == [18, 3, 3]
    for part, (first, last) in zip(found.parts, ((0, 30), (30, 36), (36, 45))):
        partner = part.samples[:, 4]
        assert (part.samples[:, 4:] == partner[:, None]).all() and ((partner >= first) & (partner < last)).all()
        assert ((partner - first) % 3 == part.labels).all()
    train = found.parts[0]
    assert len(set(train.samples[:, 4].tolist())) == 18, "no partner comes twice before all have come"
    assert train.names[0].startswith("small 0 + wide ") and "synthetic" in found.notes[0]
    known = found.described["parts"]
    assert known[1]["name"] == "b" and known[1]["sample"]["shape"] == [1, 2, 3] and known[1]["dataset"] == "wide"
    again = pairs.read(prepared, {"a": "small", "b": "wide"}, {"train": 3})
    assert all(np.array_equal(p.samples, q.samples) for p, q in zip(found.parts, again.parts))


def test_classes_are_met_by_their_names(prepared):
    """The same pictures, whose classes another dataset lists in another order."""
    wide = open_dataset(prepared / "wide")
    order = ["z", "x", "y"]
    numbers = np.array([order.index(name) for name in wide.classes])
    parts = [
        Part(split.name, np.asarray(split.samples), numbers[split.labels], split.names)
        for split in map(wide.split, ("train", "validation", "test"))
    ]
    pack(Source(parts, order, [], 0, []), Rules("turned", "image", "CC0", "a test", True, {}), prepared / "turned")
    plain, found = (pairs.read(prepared, {"a": "small", "b": name}, {"train": 3}) for name in ("wide", "turned"))
    assert found.classes == plain.classes == ["x", "y", "z"]
    assert all(np.array_equal(p.samples, q.samples) for p, q in zip(plain.parts, found.parts))
    first = pairs.read(prepared, {"b": "turned", "a": "small"}, {}).parts[0]
    assert (first.samples[:, 0] % 3 == first.samples[:, 6] % 3).all() and (
        first.labels != first.samples[:, 0] % 3
    ).all()


def test_training_samples_lack_parts_as_asked(prepared):
    found = pairs.read(prepared, {"a": "small", "b": "wide"}, {"train": 60}, {"a": 0.2, "b": 0.3})
    lacks = [np.isnan(found.parts[0].samples[:, part]).all(1) for part in (slice(0, 4), slice(4, 10))]
    assert abs(lacks[0].mean() - 0.2) < 0.06 and abs(lacks[1].mean() - 0.3) < 0.06 and not (lacks[0] & lacks[1]).any()
    assert not np.isnan(found.parts[1].samples).any()


def test_what_is_packed_knows_its_parts(prepared):
    source = pairs.read(prepared, {"a": "small", "b": "wide"}, {"train": 4}, {"b": 0.3})
    info = pack(source, Rules("both", "joint", "CC0", "a test", False, {}), prepared / "both")
    assert info["sample"] == {"shape": [10], "dtype": "float32"}
    assert [part["kind"] for part in info["parts"]] == ["image", "image"] and len(info["parts"][1]["mean"]) == 1
    assert any("training samples lack b" in note for note in info["notes"])
    assert open_dataset(prepared / "both").split("test").samples.shape == (3, 10)


@pytest.mark.parametrize(
    ("parts", "partners", "missing", "message"),
    [
        ({"a": "small"}, {}, {}, "two or more"),
        ({"a": "small", "b": "gone"}, {}, {}, "have to be prepared first"),
        ({"a": "small", "b": "wide"}, {"train": 0}, {}, "1 or more"),
        ({"a": "small", "b": "wide"}, {}, {"c": 0.1}, "of a, b"),
        ({"a": "small", "b": "wide"}, {}, {"a": 0.5, "b": 0.5}, "less than 1"),
    ],
)
def test_what_cannot_be_joined(prepared, parts, partners, missing, message):
    with pytest.raises(SourceError, match=message):
        pairs.read(prepared, parts, partners, missing)


def split_sizes(source):
    return [len(part.names) for part in source.parts]


def test_texts_without_words_are_not_alike(tmp_path):
    rows = [f"{i}.png,{text},a" for i, text in enumerate(["😀", "😁", "❤", "!!", "?", "...", "→", "★", "♥", "§"])]
    found = read(folder_of(tmp_path, rows))
    assert split_sizes(found) == [6, 2, 2] and "10 pairs in 10 groups that no split parts" in found.notes
    alike = [f"{i}.png,{who},a" for i, who in enumerate(["man", "woman"] * 2 + COLOURS)]
    (tmp_path / "more").mkdir()
    found = read(folder_of(tmp_path / "more", alike), alike=["man", "woman"])
    assert "12 pairs in 9 groups that no split parts" in found.notes


@pytest.mark.parametrize("texts", [["one"], ["one", "two"]])
def test_too_few_groups_are_refused(tmp_path, texts):
    rows = [f"{i}.png,{texts[i % len(texts)]},a" for i in range(12)]
    with pytest.raises(SourceError, match=f"texts form only {len(texts)} groups"):
        read(folder_of(tmp_path, rows))


def test_a_split_that_a_large_group_fills_is_told(tmp_path):
    found = read(
        folder_of(tmp_path, [f"{i}.png,{COLOURS[i % 3]},a" for i in range(18)]),
        hold_out={"validation": 0.1, "test": 0.1},
    )
    assert split_sizes(found) == [6, 6, 6]
    assert "validation holds 6 pairs where 2 were asked for: a group of like ones is never parted" in found.notes
