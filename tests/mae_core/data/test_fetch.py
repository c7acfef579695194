"""Fetching against a server of this machine: whole, cut, resumed, replaced, lying, gone, and against mirrors."""

import builtins
import errno
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import mae_core.data.download as downloading
from mae_core.data.download import FetchError
from mae_core.data.fetch import RECORD, Wanted, fetch, fetch_tree

BODY = bytes(i * i % 251 for i in range(300_000))
SHA = hashlib.sha256(BODY).hexdigest()


class Server:
    """What the server says, and what it was asked."""

    def __init__(self):
        self.files = {"/d/a.bin": BODY}
        self.ranges, self.validators = True, True
        self.cuts = []
        """For each answer to come: after how many bytes the connection ends."""
        self.codes = []
        """For each answer to come: its status instead of the file."""
        self.content_type = "application/octet-stream"
        self.asked = []

    def answer(self, request):
        self.asked.append((request.path, request.headers.get("Range")))
        body = self.files.get(request.path)
        code = self.codes.pop(0) if self.codes else 200
        if body is None or code != 200:
            return request.send_error(404 if body is None else code)
        tag = f'"{hashlib.sha256(body).hexdigest()[:8]}"'
        start = 0
        asked = request.headers.get("Range")
        if asked and self.ranges and request.headers.get("If-Range", tag) == tag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                return request.send_error(416)
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if self.validators:
            request.send_header("ETag", tag)
        request.send_header("Content-Type", self.content_type)
        request.send_header("Content-Length", str(len(body) - start))
        request.end_headers()
        request.wfile.write(body[start:][: self.cuts.pop(0) if self.cuts else None])


@pytest.fixture
def server():
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            state.answer(self)

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    state.url = f"http://127.0.0.1:{http.server_port}"
    yield state
    http.shutdown()
    http.server_close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(downloading, "BACKOFF", 0.001)
    monkeypatch.setattr(downloading, "TIMEOUT", 5.0)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def get(server, folder, sha256=SHA, mirror=None, path="a.bin", url=None):
    return fetch("d", [Wanted(path, url or f"{server.url}/d/{path}", sha256)], folder, mirror)


def left(folder):
    return sorted(path.name for path in (folder / "d").iterdir())


def test_a_file_comes_once(server, tmp_path):
    for _ in range(2):
        assert get(server, tmp_path) == (tmp_path / "d", True, [])
    assert (tmp_path / "d" / "a.bin").read_bytes() == BODY and left(tmp_path) == ["a.bin"]
    assert server.asked == [("/d/a.bin", None)]


def test_a_cut_connection_is_resumed_where_it_ended(server, tmp_path):
    server.cuts = [100_000, 50_000]
    get(server, tmp_path)
    assert (tmp_path / "d" / "a.bin").read_bytes() == BODY
    assert [asked for _, asked in server.asked] == [None, "bytes=100000-", "bytes=150000-"]


def test_a_server_without_ranges_is_asked_for_the_whole_again(server, tmp_path):
    server.ranges, server.cuts = False, [100_000]
    get(server, tmp_path)
    assert (tmp_path / "d" / "a.bin").read_bytes() == BODY and len(server.asked) == 2


def test_a_line_that_breaks_often_still_gets_there(server, tmp_path):
    server.cuts = [10_000] * 25
    get(server, tmp_path)
    assert (tmp_path / "d" / "a.bin").read_bytes() == BODY and len(server.asked) == 26


def test_a_line_that_never_gets_further_is_given_up_and_resumed_later(server, tmp_path):
    server.ranges, server.cuts = False, [1000] * downloading.TRIES
    with pytest.raises(FetchError, match=r"ended after 1,000 of 300,000 bytes; 0\.0 MB are kept in .*a\.bin\.part"):
        get(server, tmp_path)
    assert left(tmp_path) == ["a.bin.part", "a.bin.part.json"]
    server.ranges = True
    get(server, tmp_path)
    assert server.asked[-1] == ("/d/a.bin", "bytes=1000-") and left(tmp_path) == ["a.bin"]


def test_a_part_of_another_version_is_started_anew(server, tmp_path):
    server.cuts = [100_000, 0, 0, 0]
    with pytest.raises(FetchError):
        get(server, tmp_path, sha256=None)
    server.files["/d/a.bin"] = BODY[::-1]
    get(server, tmp_path, sha256=None)
    assert (tmp_path / "d" / "a.bin").read_bytes() == BODY[::-1] and server.asked[-1][1] == "bytes=100000-"


def test_a_part_with_wrong_bytes_is_started_anew(server, tmp_path):
    server.validators, server.cuts = False, [100_000, 0, 0, 0]
    with pytest.raises(FetchError):
        get(server, tmp_path)
    part = tmp_path / "d" / "a.bin.part"
    part.write_bytes(b"?" * 100_000)
    get(server, tmp_path)
    assert (tmp_path / "d" / "a.bin").read_bytes() == BODY
    assert [asked for _, asked in server.asked[-2:]] == ["bytes=100000-", None]


def test_a_part_longer_than_the_file_is_started_anew(server, tmp_path):
    server.cuts = [100_000, 0, 0, 0]
    with pytest.raises(FetchError):
        get(server, tmp_path)
    (tmp_path / "d" / "a.bin.part").write_bytes(b"?" * 400_000)
    get(server, tmp_path)
    assert (tmp_path / "d" / "a.bin").read_bytes() == BODY


def test_without_checksum_and_version_nothing_is_resumed(server, tmp_path):
    server.validators, server.cuts = False, [100_000]
    get(server, tmp_path, sha256=None)
    assert [asked for _, asked in server.asked] == [None, None]


def test_wrong_bytes_are_not_kept(server, tmp_path):
    server.files["/d/a.bin"] = BODY + b"x"
    found = hashlib.sha256(BODY + b"x").hexdigest()
    with pytest.raises(
        FetchError, match=rf"a\.bin from http.* has sha256 {found}, wanted {SHA}; nothing was kept\..* YAML"
    ):
        get(server, tmp_path)
    assert left(tmp_path) == []


def test_a_web_page_is_named_as_one(server, tmp_path):
    server.files["/d/a.bin"] = b"<!DOCTYPE html><title>Sign in</title>"
    with pytest.raises(FetchError, match="web page: an error, or a login"):
        get(server, tmp_path)
    with pytest.raises(FetchError, match=r"gave a web page under the name a\.bin"):
        get(server, tmp_path, sha256=None)
    server.files["/d/a.bin"], server.content_type = b"moved", "text/html; charset=utf-8"
    with pytest.raises(FetchError, match="gave a web page"):
        get(server, tmp_path, sha256=None)
    assert left(tmp_path) == []


def test_the_checksum_of_the_first_fetch_must_stay(server, tmp_path):
    first = get(server, tmp_path, sha256=None)
    assert not first.verified and "a.bin" in first.notes[0] and "unverified" in first.notes[0]
    record = tmp_path / "d" / RECORD
    assert json.loads(record.read_text()) == {"schema": 1, "sha256": {"a.bin": SHA}}
    assert get(server, tmp_path, sha256=None) == first and len(server.asked) == 1
    (tmp_path / "d" / "a.bin").unlink()
    server.files["/d/a.bin"] = b"another edition"
    with pytest.raises(FetchError, match=rf"wanted {SHA}; nothing was kept.*checksums\.json.*delete its line"):
        get(server, tmp_path, sha256=None)
    record.write_text('{"schema": 7}')
    with pytest.raises(FetchError, match="schema 7"):
        get(server, tmp_path, sha256=None)


def test_a_file_that_was_altered_is_fetched_again(server, tmp_path, capsys):
    get(server, tmp_path)
    (tmp_path / "d" / "a.bin").write_bytes(b"altered")
    get(server, tmp_path)
    assert (tmp_path / "d" / "a.bin").read_bytes() == BODY
    assert "is fetched again" in capsys.readouterr().err


def test_an_error_that_may_pass_is_tried_again_and_another_is_not(server, tmp_path):
    server.codes = [503, 429, 500]
    get(server, tmp_path)
    assert len(server.asked) == 4
    with pytest.raises(
        FetchError, match=r"b\.bin cannot be had: .*answers 404 .* Put the file at .*d/b\.bin.*MAESTRO_MIRROR"
    ):
        get(server, tmp_path, path="b.bin")
    assert len(server.asked) == 5


def test_nobody_there(tmp_path):
    with pytest.raises(FetchError, match="Connection refused"):
        fetch("d", [Wanted("a", "http://127.0.0.1:9/a", SHA)], tmp_path)
    with pytest.raises(FetchError, match="unknown url type: ftp"):
        fetch("d", [Wanted("a", "ftp://127.0.0.1/a", SHA)], tmp_path)


def test_a_server_that_falls_silent_is_left(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloading, "TIMEOUT", 0.1)
    hold = threading.Event()
    server.answer = lambda request: hold.wait(5)
    try:
        with pytest.raises(FetchError, match="timed out"):
            get(server, tmp_path)
    finally:
        hold.set()


def test_a_file_address(tmp_path):
    (tmp_path / "there").write_bytes(BODY)
    fetch("d", [Wanted("a.bin", (tmp_path / "there").as_uri(), SHA)], tmp_path)
    assert (tmp_path / "d" / "a.bin").read_bytes() == BODY


def mirror_folder(tmp_path, body=BODY):
    (tmp_path / "mirror" / "d").mkdir(parents=True)
    (tmp_path / "mirror" / "d" / "a.bin").write_bytes(body)
    return str(tmp_path / "mirror")


def test_a_mirror_folder_comes_first_and_is_not_copied(server, tmp_path):
    mirror = mirror_folder(tmp_path)
    assert get(server, tmp_path / "downloads", mirror=mirror).verified
    target = tmp_path / "downloads" / "d" / "a.bin"
    assert target.is_symlink() and target.read_bytes() == BODY and server.asked == []
    (tmp_path / "mirror" / "d" / "a.bin").unlink()
    get(server, tmp_path / "downloads", mirror=mirror)
    assert target.read_bytes() == BODY and not target.is_symlink() and len(server.asked) == 1


def test_a_mirror_with_wrong_bytes_is_refused_and_left_alone(server, tmp_path):
    mirror = mirror_folder(tmp_path, b"<html>404</html>")
    with pytest.raises(FetchError, match=r"mirror/d/a\.bin has sha256 .*web page"):
        get(server, tmp_path / "downloads", mirror=mirror)
    with pytest.raises(FetchError, match="web page"):
        get(server, tmp_path / "downloads", sha256=None, mirror=mirror)
    assert (tmp_path / "mirror" / "d" / "a.bin").read_bytes() == b"<html>404</html>" and server.asked == []


def test_a_mirror_address_comes_first_and_the_own_address_second(server, tmp_path):
    get(server, tmp_path / "x", mirror=server.url + "/", url="http://127.0.0.1:9/gone")
    assert server.asked == [("/d/a.bin", None)]
    server.files["/e/b.bin"] = BODY
    get(server, tmp_path / "y", mirror=server.url, path="b.bin", url=f"{server.url}/e/b.bin")
    assert [path for path, _ in server.asked[1:]] == ["/d/b.bin", "/e/b.bin"]


def test_a_mirror_that_is_not_there_is_said(server, tmp_path):
    with pytest.raises(FetchError, match="MAESTRO_MIRROR is /no/such/folder"):
        get(server, tmp_path, mirror="/no/such/folder")


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "", "..\\x"])
def test_paths_stay_inside(server, tmp_path, path):
    with pytest.raises(FetchError, match="is no path below"):
        get(server, tmp_path, path=path)
    with pytest.raises(FetchError, match="is no path below"):
        fetch_tree(path, SHA, None, tmp_path)


def test_a_disk_known_to_be_too_small_is_said_before_anything_is_written(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(
        FetchError, match=r"a\.bin\.part: the disk is full: 300,000 bytes more are needed, 1,000 are free"
    ):
        get(server, tmp_path)


def test_a_disk_that_fills_up_keeps_what_came(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloading, "CHUNK", 100_000)

    class Full:
        def __init__(self, file):
            self.file, self.room = file, 200_000

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, block):
            self.room -= len(block)
            if self.room < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(block)

    def opening(path, mode="r"):
        file = builtins.open(path, mode)  # noqa: SIM115 (the caller closes it)
        return Full(file) if mode == "ab" else file

    monkeypatch.setattr(downloading, "open", opening, raising=False)
    with pytest.raises(FetchError, match=r"disk is full: 100,000 bytes more are needed.* 200,000 bytes are kept"):
        get(server, tmp_path)
    monkeypatch.undo()
    get(server, tmp_path)
    assert server.asked[-1][1] == "bytes=200000-" and (tmp_path / "d" / "a.bin").read_bytes() == BODY


def test_progress_is_one_line_where_there_is_no_terminal(server, tmp_path, capsys, monkeypatch):
    get(server, tmp_path / "small")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(downloading, "WORTH_A_LINE", 1000)
    get(server, tmp_path / "large")
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("fetch a.bin: 0.3 of 0.3 MB (100%), ")


def test_progress_moves_on_a_terminal(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(downloading.sys.stderr, "isatty", lambda: True)
    get(server, tmp_path)
    assert capsys.readouterr().err.startswith("\rfetch a.bin: 0.3 of 0.3 MB (100%)")


def tree(tmp_path):
    """A mirror with a tree, and its list."""
    files = {"test/b.png": b"b", "train/a.png": b"a", "train/c.png": b"c"}
    for path, body in files.items():
        (tmp_path / "mirror" / "t" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mirror" / "t" / path).write_bytes(body)
    lines = [f"{hashlib.sha256(body).hexdigest()}  t/{path}\n" for path, body in sorted(files.items())]
    return tmp_path / "mirror", "".join(lines)


def checksum(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_tree_is_used_where_it_lies(tmp_path):
    mirror, listed = tree(tmp_path)
    found = fetch_tree("t", checksum(listed), str(mirror), tmp_path / "downloads")
    assert found == (mirror / "t", True, []) and not (tmp_path / "downloads").exists()
    by_hand = fetch_tree("t", checksum(listed), None, mirror)
    assert by_hand.folder == mirror / "t"


def test_a_tree_that_is_nowhere_says_where_to_put_it(tmp_path):
    with pytest.raises(FetchError, match=r"put it at .*downloads/t, or at \$MAESTRO_MIRROR/t"):
        fetch_tree("t", SHA, None, tmp_path / "downloads")


def test_litter_in_a_tree_is_passed_over_and_said(tmp_path):
    mirror, listed = tree(tmp_path)
    for place in (".DS_Store", "train/Thumbs.db", "train/._a.png"):
        (mirror / "t" / place).write_bytes(b"litter")
    found = fetch_tree("t", checksum(listed), str(mirror), tmp_path)
    assert found.notes == ["3 files left by file managers were passed over: .DS_Store, train/._a.png, train/Thumbs.db"]


def test_a_tree_with_other_files_names_them(tmp_path):
    mirror, listed = tree(tmp_path)
    (mirror / "t" / "train" / "notes.txt").write_text("mine")
    with pytest.raises(FetchError, match=r"4 files .* wanted .*Unlike the others: train/notes\.txt"):
        fetch_tree("t", checksum(listed), str(mirror), tmp_path)
    (mirror / "t" / "train" / "a.png").write_bytes(b"altered")
    (mirror / "t" / "test" / "b.png").unlink()
    (mirror / "checksums").mkdir()
    (mirror / "checksums" / "t.sha256").write_text(listed)
    with pytest.raises(
        FetchError, match=r"1 too many: train/notes\.txt; 1 missing: test/b\.png; 1 altered: train/a\.png"
    ):
        fetch_tree("t", checksum(listed), str(mirror), tmp_path)


def test_a_tree_comes_file_by_file_from_a_mirror_address(server, tmp_path):
    mirror, listed = tree(tmp_path)
    for path in mirror.rglob("*.png"):
        server.files[f"/m/{path.relative_to(mirror)}"] = path.read_bytes()
    server.files["/m/checksums/t.sha256"] = listed.encode()
    found = fetch_tree("t", checksum(listed), f"{server.url}/m", tmp_path / "downloads")
    assert found == (tmp_path / "downloads" / "t", True, [])
    assert (found.folder / "train" / "c.png").read_bytes() == b"c"
    server.files["/m/checksums/t.sha256"] = listed.encode() + b"x"
    with pytest.raises(FetchError, match=r"t\.sha256 from .* has sha256"):
        fetch_tree("t", checksum(listed), f"{server.url}/m", tmp_path / "elsewhere")


def test_the_manifest_is_that_of_published_lists(shared_data, tmp_path):
    text = (shared_data / "checksums" / "mnist.sha256").read_text()
    assert fetch_tree("mnist", checksum(text), str(shared_data), tmp_path).verified
