"""JPEG files as samples: the boxes that are cut, what lies in them, and every orientation, by either decoder."""

import io
import struct
import threading

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from mae_core.data import jpeg
from mae_core.data.images import ImageProblem
from mae_core.data.jpeg import JpegFiles, cut, decode, head, middle, random_boxes, turn
from mae_core.data.loader import Batches
from mae_core.draws import Draws
from mae_core.training.loop import Settings, fit, start
from mae_core.training.world import World

CONFIG = {
    "modality": {"kind": "image", "channels": 3, "size": [8, 8], "patch": 4},
    "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
    "decoder": {"kind": "joint", "width": 16, "depth": 1, "heads": 2},
    "masking": {"strategy": "random", "ratio": 0.5},
    "objective": {"reconstruction": 1.0, "target": "pixels"},
}


@pytest.fixture(params=["simplejpeg", "pillow"])
def decoder(request, monkeypatch):
    """Both ways to decode; the fast one only where it is installed."""
    if request.param == "pillow":
        monkeypatch.setattr(jpeg, "_simplejpeg", lambda: None)
    else:
        pytest.importorskip("simplejpeg")
    return request.param


@pytest.fixture
def write(tmp_path):
    """Writes a smooth picture as a JPEG file."""

    def make(height: int = 60, width: int = 90, name: str = "a.jpg", mode: str = "RGB", orientation: int = 1):
        y, x = np.mgrid[:height, :width]
        pixels = np.stack([255 * x / width, 255 * y / height, 128 + 60 * np.sin(x / 9)], -1).astype(np.uint8)
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / name
        Image.fromarray(pixels).convert(mode).save(path, quality=95, exif=exif)
        return path

    return make


def seen(path) -> np.ndarray:
    """The picture as people see it."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_pixels_are_those_of_pillow(decoder, write, mode):
    path = write(mode=mode)
    photo = head(path)
    assert (photo.height, photo.width, photo.plain) == (60, 90, mode != "CMYK")
    found = decode(path.read_bytes(), photo, 1)
    assert found.shape == (60, 90, 3)
    assert np.abs(found.astype(int) - seen(path)).mean() < 1


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_large_pictures_are_decoded_small(decoder, write, scale):
    path = write(height=161, width=240)
    found = decode(path.read_bytes(), head(path), scale)
    assert found.shape == (-(-161 // scale), 240 // scale, 3)
    with Image.open(path) as image:
        expected = np.asarray(image.resize(found.shape[1::-1], Image.Resampling.BOX))
    assert np.abs(found.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(write, orientation):
    path = write(orientation=orientation)
    photo = head(path)
    assert photo.orientation == orientation
    with Image.open(path) as image:
        stored = np.asarray(image)
    np.testing.assert_array_equal(turn(stored, orientation), seen(path))
    sample = JpegFiles([path], (8, 12) if orientation < 5 else (12, 8))[:][0]
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        expected = np.asarray(upright.resize(sample.shape[:0:-1], Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert np.abs(sample.astype(int) - expected).mean() < 4


def test_a_cut_is_the_box_resized(decoder, write):
    path = write(height=300, width=400)
    for box in ((10, 20, 60, 50), (0, 0, 300, 400), (100, 37, 128, 256)):
        found = cut(head(path), box, (32, 48))
        top, left, tall, wide = box
        with Image.open(path) as image:
            piece = image.crop((left, top, left + wide, top + tall)).resize((48, 32), Image.Resampling.BICUBIC)
        expected = torch.from_numpy(np.array(piece)).permute(2, 0, 1)
        assert found.shape == (3, 32, 48) and found.dtype == torch.uint8
        assert (found.float() - expected.float()).abs().mean() < 3, box


def test_boxes_lie_inside_and_have_the_drawn_area_and_aspect():
    sizes = torch.tensor([[60, 90], [500, 375]]).repeat(500, 1)
    boxes = random_boxes(sizes, (32, 32), Draws(0, 0, torch.arange(1000)), 0.2).double()
    top, left, tall, wide = boxes.unbind(1)
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + tall <= sizes[:, 0]).all() and (left + wide <= sizes[:, 1]).all()
    share, aspect = tall * wide / sizes.prod(1), wide / tall
    assert share.min() > 0.19 and share.max() <= 1.0 and 0.4 < share.mean() < 0.65
    assert aspect.min() > 0.73 and aspect.max() < 1.37
    assert (aspect < 0.8).any() and (aspect > 1.25).any()
    assert (top > 0).any() and (left > 0).any()
    assert len(torch.unique(boxes, dim=0)) > 990


def test_a_box_that_never_fits_becomes_the_middle():
    sizes = torch.tensor([[10, 1000]])
    assert random_boxes(sizes, (8, 8), Draws(0, 0, torch.zeros(1, dtype=torch.long)), 0.9).tolist() == [
        [0, 495, 10, 10]
    ]
    assert middle(torch.tensor([[60, 90], [90, 60]]), (10, 10)).tolist() == [[0, 15, 60, 60], [15, 0, 60, 60]]


def test_crops_depend_on_seed_step_and_sample_alone(write):
    files = JpegFiles([write(name=f"{n}.jpg", width=90 + n) for n in range(6)], (8, 8))
    whole = files.crops(Draws(1, 5, torch.arange(6)))
    part = files.crops(Draws(1, 5, torch.tensor([4, 1])))
    assert torch.equal(part, whole[[4, 1]])
    assert not torch.equal(files.crops(Draws(1, 6, torch.arange(6))), whole)
    assert not torch.equal(files.crops(Draws(2, 5, torch.arange(6))), whole)


def test_half_of_the_crops_are_mirrored(write):
    files = JpegFiles([write()], (8, 8))
    ids = torch.zeros(1, dtype=torch.long)
    rising = [
        bool((crop[0, 0, :, -1] > crop[0, 0, :, 0]).all())
        for crop in (files.crops(Draws(0, s, ids)) for s in range(60))
    ]
    assert 15 < sum(rising) < 45, "red grows to the right in the picture, and to the left in its mirror image"
    files.flip = False
    assert all(
        (files.crops(Draws(0, s, ids))[0, 0, :, -1] > files.crops(Draws(0, s, ids))[0, 0, :, 0]).all() for s in range(9)
    )


def test_a_training_reads_them(write):
    files = JpegFiles([write(name=f"{n}.jpg", height=50 + n) for n in range(5)], (8, 8))
    settings = Settings(steps=3, batch_size=4, lr=1e-3, precision="fp32")
    losses = [p.loss for p in fit(start(CONFIG, settings), files, settings, report_every=1)]
    again = [p.loss for p in fit(start(CONFIG, settings), files, settings, report_every=1)]
    assert losses == again and np.isfinite(losses).all()
    whole = [p.loss for p in fit(start(CONFIG, settings), files[:], settings, report_every=1)]
    assert losses != whole, "random crops are not the whole pictures"


def test_batches_are_decoded_ahead_and_are_the_same_in_any_order(write):
    files = JpegFiles([write(name=f"{n}.jpg", width=60 + n) for n in range(7)], (8, 8))
    before = set(threading.enumerate())
    ahead = Batches(files, 3, 5, World(), torch.device("cpu"))
    steps = [0, 1, 2, 9, 2, 3, 0]
    for step, batch in [(step, ahead(step)) for step in steps]:
        assert torch.equal(batch.ids, ahead.ids(step))
        assert torch.equal(batch.raw, files.crops(Draws(5, step, batch.ids)))
    own = set(threading.enumerate()) - before
    assert own, "on a thread of its own"
    ahead.close()
    assert not own & set(threading.enumerate())


def test_a_file_that_is_damaged_later_ends_the_training_by_name(write):
    paths = [write(name=f"{n}.jpg") for n in range(3)]
    files = JpegFiles(paths, (8, 8))
    paths[1].write_bytes(b"gone")
    settings = Settings(steps=3, batch_size=3, lr=1e-3, precision="fp32")
    with pytest.raises(ImageProblem, match=r"1\.jpg"):
        list(fit(start(CONFIG, settings), files, settings))


def test_other_files_are_refused_by_name(write, tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "b.png")
    with pytest.raises(ImageProblem, match=r"not a JPEG: .*b\.png"):
        JpegFiles([write(), tmp_path / "b.png"], (8, 8))
    with pytest.raises(ImageProblem, match=r"too small: .*c\.jpg: 1x1"):
        Image.new("RGB", (1, 1)).save(tmp_path / "c.jpg")
        head(tmp_path / "c.jpg")
    with pytest.raises(ValueError, match="area 0 is outside"):
        JpegFiles([], (8, 8), area=0)


@pytest.mark.parametrize(("side", "words"), [(6_000, "6000x6000 declared"), (65_000, "more than 24,000,000 declared")])
def test_declared_sizes_are_refused_unread(write, side, words):
    """Pillow itself refuses the second."""
    path = write(60, 90)
    size = struct.pack(">HH", 60, 90)
    data = path.read_bytes()
    assert data.count(size) == 1
    path.write_bytes(data.replace(size, struct.pack(">HH", side, side)))
    with pytest.raises(ImageProblem, match=rf"too many pixels: .*a\.jpg: {words}"):
        head(path)


@pytest.mark.parametrize("entry", [(2, 4, b"six\0"), (3, 1, b"\0\x09\0\0")])
def test_what_is_no_orientation_is_upright(tmp_path, entry):
    """Text in its place, and a number that means nothing."""
    notes = b"MM" + struct.pack(">HLH", 42, 8, 1) + struct.pack(">HHL4sL", 0x0112, *entry, 0)
    Image.new("RGB", (20, 30)).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + notes)
    assert head(tmp_path / "a.jpg")[1:4] == (30, 20, 1)


def test_damage_is_named_when_it_is_read(decoder, write):
    path = write()
    files = JpegFiles([path], (8, 8))
    content = io.BytesIO(path.read_bytes()).read(200)
    path.write_bytes(content)
    with pytest.raises(ImageProblem, match=r"damaged pixels: .*a\.jpg"):
        files[:]
