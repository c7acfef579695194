"""Decoding video: real containers made here, strides and hops, and files that nobody should trust."""

from __future__ import annotations

import tracemalloc

import av
import numpy as np
import pytest
from films import KINDS, make_video

from mae_core.data.videos import Look, VideoProblem, read_clips

LOOK = Look(4, (16, 16), 1)


def levels(clip) -> list[float]:
    return [round(float(frame.mean()) / 20) for frame in clip.pixels[0]]


@pytest.mark.parametrize("suffix", KINDS)
def test_containers(tmp_path, suffix):
    clips = list(read_clips(make_video(tmp_path / f"a{suffix}"), LOOK))
    assert [clip.start for clip in clips] == [0, 4, 8]
    assert clips[0].pixels.shape == (1, 4, 16, 16) and clips[0].pixels.dtype == np.uint8
    assert [levels(clip) for clip in clips] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_bytes_and_files_give_the_same(tmp_path):
    path = make_video(tmp_path / "a.mp4")
    for one, other in zip(read_clips(path, LOOK), read_clips(path.read_bytes(), LOOK), strict=True):
        assert np.array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize(
    ("stride", "hop", "most", "expected"),
    [
        (2, None, None, {0: [0, 2, 4, 6]}),
        (3, None, None, {0: [0, 3, 6, 9]}),
        (2, 2, None, {0: [0, 2, 4, 6], 2: [2, 4, 6, 8], 4: [4, 6, 8, 10]}),
        (2, 3, 2, {0: [0, 2, 4, 6], 3: [3, 5, 7, 9]}),
        (1, 6, None, {0: [0, 1, 2, 3], 6: [6, 7, 8, 9]}),
    ],
)
def test_strides_hops_and_limits(tmp_path, stride, hop, most, expected):
    clips = read_clips(make_video(tmp_path / "a.mp4"), LOOK._replace(stride=stride, hop=hop, most=most))
    assert {clip.start: levels(clip) for clip in clips} == expected


def test_frames_are_cropped_to_the_aspect(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 16, "bgr0"
        sides = np.zeros((16, 48, 3), np.uint8)
        sides[:, 16:32] = [250, 120, 10]
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(sides, "rgb24")))
        container.mux(stream.encode())
    (clip,) = read_clips(path, LOOK._replace(channels=3))
    assert clip.pixels.shape == (3, 4, 16, 16) and (clip.pixels == np.array([250, 120, 10]).reshape(3, 1, 1, 1)).all()


def test_frames_are_turned_as_the_file_asks(tmp_path):
    """A phone held upright stores its pictures lying and a matrix in the track's header that turns them clockwise."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        left = np.zeros((64, 64, 3), np.uint8)
        left[:, :32] = 240
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(left, "rgb24")))
        container.mux(stream.encode())
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    one, zero = (1 << 16).to_bytes(4, "big"), bytes(4)
    assert data[at : at + 20] == one + zero * 3 + one
    data[at : at + 20] = zero + one + zero + (-(1 << 16)).to_bytes(4, "big", signed=True) + zero
    path.write_bytes(data)
    (clip,) = read_clips(path, LOOK)
    assert clip.pixels[0, :, :7].min() > 200 and clip.pixels[0, :, 9:].max() < 40, "left becomes the top"


def test_decoding_is_lazy(tmp_path):
    """A long video costs no more memory than a clip: 600 frames of 240 x 320 would be 138 MB."""
    path = make_video(tmp_path / "a.avi", 600, (240, 320))
    tracemalloc.start()
    count = sum(1 for _ in read_clips(path, LOOK))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 150 and peak < 8e6
    assert len(list(read_clips(path, LOOK._replace(most=2)))) == 2


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


def cut_between_frames(path):
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"00dc", len(data) // 2)])


HOSTILE = {
    "empty.avi": (lambda p: p.write_bytes(b""), "empty file"),
    "text.mp4": (lambda p: p.write_text("not a video\n"), "not a video"),
    "page.gif": (lambda p: p.write_text("<!doctype html><html>404</html>"), "not a video"),
    "list.mp4": (
        lambda p: p.write_text("#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n"),
        "not a video",
    ),
    "cut.mp4": (lambda p: cut(make_video(p, 200), 0.6), "damaged video"),
    "cut.avi": (lambda p: cut(make_video(p, 200), 0.6), "damaged video"),
    "cut-clean.avi": (lambda p: cut_between_frames(make_video(p, 200)), "truncated: 200 frames declared"),
    "head.avi": (lambda p: p.write_bytes(b"RIFF\x10\0\0\0AVI "), "damaged video"),
    "short.gif": (lambda p: make_video(p, 3), "too short: 3 frames, a clip reaches over 4"),
    "thin.avi": (lambda p: make_video(p, 4, (16, 1602)), "too thin: 1602x16"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_with_a_reason(tmp_path, name):
    make_it, reason = HOSTILE[name]
    make_it(tmp_path / name)
    with pytest.raises(VideoProblem) as caught:
        list(read_clips(tmp_path / name, LOOK))
    assert reason in str(caught.value)


def test_a_damaged_frame_is_no_grey_patch(tmp_path):
    path = make_video(tmp_path / "a.avi", 60, (64, 64))
    data = bytearray(path.read_bytes())
    noise = np.random.default_rng(0).integers(0, 256, 400, np.uint8).tobytes()
    middle = data.index(b"00dc", len(data) // 3) + 8
    data[middle : middle + 400] = noise
    path.write_bytes(data)
    with pytest.raises(VideoProblem):
        list(read_clips(path, LOOK))


def test_too_many_pixels_are_refused_unread(tmp_path):
    """A GIF's header declares more pixels than it has, or more than anybody can have."""
    path = make_video(tmp_path / "a.gif")
    data = bytearray(path.read_bytes())
    for side, reason in ((6_000, "too many pixels: 6000x6000"), (60_000, "damaged video: the size of its pictures")):
        data[6:10] = side.to_bytes(2, "little") * 2
        path.write_bytes(data)
        with pytest.raises(VideoProblem, match=reason):
            list(read_clips(path, LOOK))


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(VideoProblem, match="no video"):
        list(read_clips(path, LOOK))
