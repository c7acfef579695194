"""Every hostile file gets its answer; good files become samples."""

import csv
import io

import numpy as np
import pytest
from PIL import Image

from mae_core.data.images import ImageProblem, decode_image, fit, frames, open_image
from mae_core.data.sources import SourceError, folder, idx, parquet

REFUSED_IMAGES = {
    "truncated.jpg": "damaged pixels",
    "truncated-header.jpg": "damaged header|not a picture",
    "zero-byte.png": "empty file",
    "text.jpg": "not a picture",
    "html-404.png": "not a picture",
    "one-pixel.png": "too small",
    "thin-1x2000.png": "too small",
    "bad-crc.png": "checksum",
    "truncated.png": "truncated",
    "bomb-header.png": "too many pixels",
    "bomb-real.png": "too many pixels",
    "float-nan.tiff": "not finite",
}
ACCEPTED_IMAGES = (
    "png-content.jpg", "gray16.png", "cmyk.jpg", "animated.gif", "rgba.png", "gray-alpha.png",
    "palette-transparent.png", "exif-rotated.jpg", "gray-1bit.png",
)  # fmt: skip


def test_the_two_lists_cover_every_hostile_picture(shared_data):
    with open(shared_data / "broken" / "EXPECTED.tsv") as file:
        named = {row["file"][6:] for row in csv.DictReader(file, delimiter="\t") if row["file"].startswith("image/")}
    assert named == set(REFUSED_IMAGES) | set(ACCEPTED_IMAGES)


@pytest.mark.parametrize(("name", "reason"), REFUSED_IMAGES.items())
def test_bad_pictures_are_refused_with_a_reason(shared_data, name, reason):
    with pytest.raises(ImageProblem, match=reason):
        open_image((shared_data / "broken" / "image" / name).read_bytes())


@pytest.mark.parametrize("name", ACCEPTED_IMAGES)
@pytest.mark.parametrize("channels", [1, 3])
def test_odd_pictures_become_the_channels_asked_for(shared_data, name, channels):
    pixels = decode_image((shared_data / "broken" / "image" / name).read_bytes(), (24, 32), channels)
    assert pixels.shape == (channels, 24, 32) and pixels.dtype == np.uint8


def picture(shared_data, name):
    return open_image((shared_data / "broken" / "image" / name).read_bytes())


def test_sixteen_bits_are_scaled_not_clipped(shared_data):
    values = np.asarray(picture(shared_data, "gray16.png"))
    assert values.max() == 255 and values.min() == 0
    assert (values == 255).mean() < 0.05


def test_one_bit_is_black_and_white(shared_data):
    assert set(np.unique(np.asarray(picture(shared_data, "gray-1bit.png")))) == {0, 255}


def test_orientation_is_applied(shared_data):
    assert picture(shared_data, "exif-rotated.jpg").size == (48, 96)


def test_alpha_is_composited_on_white():
    buffer = io.BytesIO()
    Image.new("RGBA", (4, 4), (10, 20, 30, 0)).save(buffer, "PNG")
    assert (np.asarray(open_image(buffer.getvalue())) == 255).all()


@pytest.mark.parametrize(("mode", "clear"), [("1", 0), ("L", 0), ("I;16", 0), ("RGB", (0, 0, 0))])
def test_what_a_colour_makes_transparent_is_white(mode, clear):
    buffer = io.BytesIO()
    image = Image.new(mode, (4, 4), clear)
    if mode == "L":
        image.putpixel((0, 0), 100)
    image.save(buffer, "PNG", transparency=clear)
    shown = np.asarray(open_image(buffer.getvalue()))
    assert (shown.ravel()[1:] == 255).all() and shown.ravel()[0] == (100 if mode == "L" else 255)


def test_palette_is_colour_not_index(shared_data):
    assert picture(shared_data, "palette-transparent.png").mode == "RGB"


def test_animation_counts_its_frames(shared_data):
    assert frames((shared_data / "broken" / "image" / "animated.gif").read_bytes()) == 3


def test_fit_keeps_the_centre_and_the_aspect():
    image = Image.new("L", (100, 50), 0)
    image.paste(255, (25, 0, 75, 50))
    pixels = fit(image, (10, 10), 1)
    assert (pixels[..., 1:-1] == 255).all() and (
        pixels > 200
    ).all()  # the filter of the outer columns reaches over the cut
    with pytest.raises(ValueError, match=r"1 .grey. or 3"):
        fit(image, (10, 10), 4)


REFUSED_IDX = {
    "truncated-images-idx3-ubyte.gz": "truncated gzip",
    "short-payload-idx3-ubyte.gz": r"\d+ bytes expected .* \d+ found",
    "trailing-bytes-idx3-ubyte.gz": "more bytes than",
    "bad-magic-idx3-ubyte.gz": "magic number",
    "huge-dims-idx3-ubyte.gz": "limit",
    "bad-crc-idx3-ubyte.gz": "checksum",
    "not-gzip-idx3-ubyte.gz": "not gzip",
    "gzip-bomb-idx3-ubyte.gz": "more bytes than",
}


@pytest.mark.parametrize(("name", "reason"), REFUSED_IDX.items())
def test_bad_idx_files_are_refused(shared_data, name, reason):
    with pytest.raises(SourceError, match=reason):
        idx.read_idx(shared_data / "broken" / "idx" / name, 3)


def test_idx_pair_that_does_not_fit_is_refused(shared_data):
    broken = shared_data / "broken" / "idx"
    with pytest.raises(SourceError, match=r"20 images.*19 labels"):
        idx.read_pair(broken / "pair-images-idx3-ubyte.gz", broken / "pair-labels-idx1-ubyte.gz", "train", 10)
    images = broken / "pair-images-idx3-ubyte.gz"
    labels = broken / "label-out-of-range-idx1-ubyte.gz"
    if len(idx.read_idx(labels, 1)) == 20:
        with pytest.raises(SourceError, match="label 77"):
            idx.read_pair(images, labels, "train", 10)


def test_label_out_of_range_is_refused(tmp_path):
    (tmp_path / "i").write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4]))
    (tmp_path / "l").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 1, 77]))
    with pytest.raises(SourceError, match=r"label 77.*10 classes"):
        idx.read_pair(tmp_path / "i", tmp_path / "l", "train", 10)
    assert idx.read_pair(tmp_path / "i", tmp_path / "l", "train", 78).samples.tolist() == [[[[1, 2], [3, 4]]]]


def test_missing_idx_file_is_named(tmp_path):
    with pytest.raises(SourceError, match="nothing-idx3-ubyte is missing"):
        idx.read_idx(tmp_path / "nothing-idx3-ubyte", 3)


def test_class_tree(shared_data):
    source = folder.read(shared_data / "broken" / "class-tree", size=[16, 16], channels=3)
    (part,) = source.parts
    assert source.classes == ["cat", "dog", "empty-class"]
    named = {name: source.classes[label] for name, label in zip(part.names, part.labels)}
    assert named == {
        "cat/UPPER.JPG": "cat", "cat/ok 1.png": "cat", "cat/ünïcode-名前.png": "cat", "dog/a.png": "dog", "dog/nested/deep/b.png": "dog",
    }  # fmt: skip
    assert [(item.file, item.reason) for item in source.refused] == [("cat/empty.png", "empty file")]
    assert any("empty-class" in note for note in source.notes)
    assert any("1 pictures lie beside" in note for note in source.notes)
    assert source.ignored == 6  # notes.txt, Thumbs.db, ._ok 1.png, .DS_Store, .gitkeep, stray.png


def test_loose_pictures_are_unlabelled_where_asked(shared_data):
    source = folder.read(shared_data / "broken" / "class-tree", size=[16, 16], channels=1, unlabelled="loose")
    (part,) = source.parts
    assert dict(zip(part.names, part.labels))["stray.png"] == -1


def write_pictures(root, places):
    for i, place in enumerate(places):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (i, 2 * i, 3 * i)).save(root / place)


def test_a_flat_folder_has_no_labels(tmp_path):
    write_pictures(tmp_path, ["a.png", "b.png"])
    source = folder.read(tmp_path, size=[8, 8], channels=3)
    assert source.classes == [] and source.parts[0].labels.tolist() == [-1, -1]


def test_unlabelled_folder_is_no_class(tmp_path):
    write_pictures(tmp_path, ["cat/a.png", "dog/b.png", "Unlabelled/c.png"])
    source = folder.read(tmp_path, size=[8, 8], channels=3)
    assert source.classes == ["cat", "dog"] and sorted(source.parts[0].labels.tolist()) == [-1, 0, 1]


def test_links_out_of_the_tree_are_ignored(tmp_path):
    write_pictures(tmp_path, ["outside.png", "tree/cat/a.png"])
    (tmp_path / "tree" / "cat" / "link.png").symlink_to(tmp_path / "outside.png")
    source = folder.read(tmp_path / "tree", size=[8, 8], channels=3)
    assert source.parts[0].names == ["cat/a.png"] and source.ignored == 1


def test_missing_part_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"part test: .*test is not a folder"):
        folder.read(tmp_path, size=[8, 8], channels=3, parts={"test": "test"})


def png(value):
    buffer = io.BytesIO()
    Image.new("L", (8, 8), value).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(path, **columns):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)


def test_parquet_of_hugging_face_style(tmp_path):
    pictures = [{"bytes": png(i), "path": None} for i in (1, 2)] + [{"bytes": b"junk", "path": None}]
    write_parquet(tmp_path / "t.parquet", image=pictures, label=[1, 0, 1])
    source = parquet.read(tmp_path, {"train": ["t.parquet"]}, [8, 8], 1)
    (part,) = source.parts
    assert part.samples[:, 0, 0, 0].tolist() == [1, 2] and part.labels.tolist() == [1, 0]
    assert source.classes == ["0", "1"] and source.refused[0].file == "t.parquet[2]"


def test_parquet_with_named_and_missing_labels(tmp_path):
    write_parquet(tmp_path / "t.parquet", image=[png(1), png(2), png(3)], label=["dog", None, "cat"])
    source = parquet.read(tmp_path, {"all": ["t.parquet"]}, [8, 8], 1)
    assert source.classes == ["cat", "dog"] and source.parts[0].labels.tolist() == [1, -1, 0]


def test_parquet_problems_are_named(tmp_path):
    write_parquet(tmp_path / "t.parquet", picture=[png(1)], label=[0])
    with pytest.raises(SourceError, match=r"no column image: it has picture, label"):
        parquet.read(tmp_path, {"all": ["t.parquet"]}, [8, 8], 1)
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(SourceError, match="no whole parquet"):
        parquet.read(tmp_path, {"all": ["bad.parquet"]}, [8, 8], 1)
    write_parquet(tmp_path / "l.parquet", image=[png(1)], label=[7])
    with pytest.raises(SourceError, match="label 7"):
        parquet.read(tmp_path, {"all": ["l.parquet"]}, [8, 8], 1, classes=["a", "b"])
