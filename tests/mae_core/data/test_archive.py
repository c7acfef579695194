"""Archives of every bad kind are refused whole, naming the entry; good ones are unpacked once."""

import csv
import errno
import gzip
import io
import os
import struct
import tarfile
import zipfile

import pytest

import mae_core.data.archive as archives
from mae_core.data.archive import RECORD, ArchiveError, extract
from mae_core.data.sources import SourceError, cifar_binary

REFUSED = {
    "path-traversal.zip": r"'\.\./evil\.txt' leads out of the target",
    "path-traversal.tar.gz": r"'\.\./evil\.txt' leads out of the target",
    "symlink-escape.tar.gz": r"'out' is a link to '\.\./\.\.'",
    "truncated.zip": "not a whole zip",
    "bad-crc.zip": r"Bad CRC-32 for file 'data/train\.csv'",
    "zip-bomb.zip": r"268,435,456 bytes or more from 261,032: the limits are",
    "case-collision.zip": r"'A\.TXT' is the same as 'a\.txt'",
    "empty.zip": "is empty",
    "html.tar.gz": "is not gzip",
}


def test_the_list_covers_every_hostile_archive(shared_data):
    with open(shared_data / "broken" / "EXPECTED.tsv") as file:
        rows = {row["file"] for row in csv.DictReader(file, delimiter="\t")}
    assert {row.removeprefix("archive/") for row in rows if row.startswith("archive/")} == set(REFUSED)


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_hostile_archives_are_refused_and_leave_nothing(shared_data, tmp_path, name, reason):
    inner = tmp_path / "a" / "b"
    with pytest.raises(ArchiveError, match=rf"(?s){name}.*{reason}"):
        extract(shared_data / "broken" / "archive" / name, inner / "target")
    assert [path for path in tmp_path.rglob("*") if path != inner.parent] == [inner]


def make_zip(path, entries, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data, **options)
    return path


def make_tar(path, entries):
    """``entries``: (name, bytes), or a TarInfo without bytes."""
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
                continue
            info = tarfile.TarInfo(entry[0])
            info.size = len(entry[1])
            archive.addfile(info, io.BytesIO(entry[1]))
    return path


GOOD = [("./a/b.txt", b"one"), ("a/ünï 名.txt", b"two"), ("a/narrow\u202fspace.png", b""), ("c", b"x" * 3000)]


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.tgz", "X.TAR.GZ"])
def test_good_archives_are_unpacked(tmp_path, name):
    make = make_zip if name.endswith("zip") else make_tar
    extract(make(tmp_path / name.lower(), GOOD).rename(tmp_path / name), tmp_path / "t")
    found = {str(p.relative_to(tmp_path / "t")): p.read_bytes() for p in (tmp_path / "t").rglob("*") if p.is_file()}
    del found[RECORD]
    assert found == {place.removeprefix("./"): data for place, data in GOOD}


def test_an_unpacked_archive_is_not_unpacked_again(tmp_path):
    path, target = make_zip(tmp_path / "x.zip", GOOD), tmp_path / "t"
    extract(path, target)
    before = os.stat(target / "c").st_ino
    extract(path, target)
    assert os.stat(target / "c").st_ino == before
    (target / "c").unlink()
    extract(path, target)
    assert (target / "c").read_bytes() == b"x" * 3000
    extract(make_zip(path, [("c", b"new")]), target)
    assert (target / "c").read_bytes() == b"new" and not (target / "a").exists()


def test_what_was_there_stays_when_a_new_archive_is_refused(tmp_path):
    path, target = make_zip(tmp_path / "x.zip", GOOD), tmp_path / "t"
    extract(path, target)
    make_zip(path, [("c", b"new"), ("../d", b"")])
    with pytest.raises(ArchiveError, match="leads out"):
        extract(path, target)
    assert (target / "c").read_bytes() == b"x" * 3000


def special(name, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "a"
    return info


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    path = make_tar(tmp_path / "x.tar", [("a", b"1"), special("b", kind)])
    with pytest.raises(ArchiveError, match="entry 'b' is a"):
        extract(path, tmp_path / "t")


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("b")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    with pytest.raises(ArchiveError, match="entry 'b' is a link"):
        extract(make_zip(tmp_path / "x.zip", [(info, b"../..")]), tmp_path / "t")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["/tmp/evil"], "leads out"),
        (["a/../../evil"], "leads out"),
        (["C:/evil"], "leads out"),
        (["..\\evil"], "backslash"),
        (["a\nb"], "control character"),
        (["n" * 256], "longer than"),
        (["/".join(["n" * 100] * 11)], "longer than"),
        (["a", "a"], "occurs twice"),
        (["a", "A"], "where case does not count"),
        (["é", "e\u0301"], "where case does not count"),
        (["D/a", "d/b"], "where case does not count"),
        (["a", "a/b"], "as a file and as a folder"),
        (["a/b", "a"], "as a file and as a folder"),
        (["./."], "no name of its own"),
        ([RECORD], "occurs twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_would_surprise_are_refused(tmp_path, names, reason):
    entries = [(name, b"x") for name in names]
    for path in (make_tar(tmp_path / "x.tar", entries), make_zip(tmp_path / "x.zip", entries)):
        with pytest.raises(ArchiveError, match=reason):
            extract(path, tmp_path / "t")
        assert not (tmp_path / "t").exists()


def test_limits_hold(tmp_path, monkeypatch):
    small = make_zip(tmp_path / "n.zip", [(str(i), b"") for i in range(11)])
    monkeypatch.setattr(archives, "MAX_MEMBERS", 10)
    with pytest.raises(ArchiveError, match="more than 10 entries"):
        extract(small, tmp_path / "t")
    noise = make_zip(tmp_path / "b.zip", [("a", os.urandom(2000)), ("b", os.urandom(2000))])
    monkeypatch.setattr(archives, "MAX_BYTES", 3000)
    with pytest.raises(ArchiveError, match="4,000 bytes or more"):
        extract(noise, tmp_path / "t")


def test_a_gzip_bomb_is_stopped_while_it_unpacks(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "RATIO_FROM", 100_000)
    monkeypatch.setattr(archives, "MAX_MEMBERS", 10)
    path = make_tar(tmp_path / "x.tar.gz", [("zeros", bytes(20_000_000))])
    assert path.stat().st_size < 30_000
    with pytest.raises(ArchiveError, match="the limits are"):
        extract(path, tmp_path / "t")
    path.write_bytes(gzip.compress(bytes(20_000_000)))  # no entry at all, zeros after the end mark
    with pytest.raises(ArchiveError, match="the limits are"):
        extract(path, tmp_path / "t")


def test_a_header_that_declares_gigabytes_is_refused_unread(tmp_path):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_000))
    with pytest.raises(ArchiveError, match="a header of "):
        extract(tmp_path / "x.tar", tmp_path / "t")


@pytest.mark.parametrize("cut", [100, 700, 1500, 2048])
def test_a_cut_tar_is_refused(tmp_path, cut):
    path = make_tar(tmp_path / "x.tar", [("a", b"1"), ("b", b"2")])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ArchiveError, match="is damaged"):
        extract(path, tmp_path / "t")


def test_damage_is_found_wherever_it_is(tmp_path):
    path = make_tar(tmp_path / "x.tar", [("a", b"1"), ("b", b"2"), ("c", b"3")])
    whole = path.read_bytes()
    path.write_bytes(whole[:1024] + b"?" + whole[1025:])  # the second header: tarfile alone would end there unsaid
    with pytest.raises(ArchiveError, match=r"after entry 'a' .*a header is damaged"):
        extract(path, tmp_path / "t")
    zipped = bytearray(gzip.compress(whole))
    zipped[-8] ^= 1
    (tmp_path / "x.tar.gz").write_bytes(zipped)
    with pytest.raises(ArchiveError, match=r"damaged.*CRC"):
        extract(tmp_path / "x.tar.gz", tmp_path / "t")
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(whole)[:-20])
    with pytest.raises(ArchiveError, match="damaged"):
        extract(tmp_path / "x.tar.gz", tmp_path / "t")


def test_a_zip_that_declares_less_than_it_holds_is_refused(tmp_path):
    path = make_zip(tmp_path / "x.zip", [("a", b"x" * 1000)])
    data = path.read_bytes().replace(struct.pack("<I", 1000), struct.pack("<I", 10))
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="damaged in or after entry 'a'"):
        extract(path, tmp_path / "t")


def test_an_encrypted_entry_is_named(tmp_path):
    path = make_zip(tmp_path / "x.zip", [("a", b"secret")])
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="'a' is encrypted"):
        extract(path, tmp_path / "t")


def test_other_kinds_and_false_names_are_refused(tmp_path):
    (tmp_path / "x.7z").write_bytes(b"7z")
    with pytest.raises(ArchiveError, match=r"x\.7z is no archive that is read here: there are \.zip, \.tar"):
        extract(tmp_path / "x.7z", tmp_path / "t")
    (tmp_path / "x.zip").write_bytes(b"<html>")
    with pytest.raises(ArchiveError, match="is not a zip"):
        extract(tmp_path / "x.zip", tmp_path / "t")
    with pytest.raises(ArchiveError, match=r"y\.zip is missing"):
        extract(tmp_path / "y.zip", tmp_path / "t")
    with pytest.raises(ArchiveError, match="is empty"):
        extract(make_tar(tmp_path / "x.tar", []), tmp_path / "t")


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archives, "_write", full)
    with pytest.raises(ArchiveError, match=r"the disk of .*/t is full"):
        extract(make_zip(tmp_path / "x.zip", GOOD), tmp_path / "t")
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


def cifar(tmp_path, **batches):
    return make_tar(tmp_path / "c.tar.gz", [(f"batches/{name}.bin", data) for name, data in batches.items()])


def records(n, seed=0):
    return b"".join(bytes([i % 3]) + bytes([seed]) * 3072 for i in range(n))


def test_cifar_batches_come_out_of_their_archive(tmp_path):
    cifar(tmp_path, one=records(4), two=records(2, 7), test=records(3))
    parts = {"train": ["batches/one.bin", "batches/two.bin"], "test": ["batches/test.bin"]}
    source = cifar_binary.read(tmp_path, "c.tar.gz", parts, ["a", "b", "c"])
    assert [part.samples.shape for part in source.parts] == [(6, 3, 32, 32), (3, 3, 32, 32)]
    assert source.parts[0].labels.tolist() == [0, 1, 2, 0, 0, 1] and source.parts[0].names[5] == "train[5]"
    with pytest.raises(SourceError, match="label 2, there are 2 classes"):
        cifar_binary.read(tmp_path, "c.tar.gz", parts, ["a", "b"])
    cifar(tmp_path, one=records(4)[:-1], two=b"", test=b"")
    with pytest.raises(SourceError, match="no whole number of records"):
        cifar_binary.read(tmp_path, "c.tar.gz", parts, ["a", "b", "c"])
