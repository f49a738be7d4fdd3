"""Every file of a folder is an image or is counted with its name and reason."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from PIL import Image

from mmh_core.records import MMHError
from mmh_core.retrieval import folder_files as folder_files_module
from mmh_core.retrieval.folder_files import FolderFiles, folder_files
from mmh_core.retrieval.image_content import content_of


def encoded(form: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), (1, 2, 3)).save(stream, form)
    return stream.getvalue()


def listed(folder: Path) -> FolderFiles:
    *_, last = folder_files(folder)
    assert isinstance(last, FolderFiles)
    return last


FTYP = b"\0\0\0\x18ftyp"


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("PNG", "a.png"), ("JPEG", "b.jfif"), ("JPEG", "c.jpe"), ("JPEG", "d"), ("TIFF", "e.tif"),
        ("JPEG", "f.jpg_large"), ("PNG", "g.jpg"), ("WEBP", "h.png"), ("GIF", "i.GIFV"),
        ("BMP", "j.dib"), ("AVIF", "k.avif"), ("AVIF", "l.jpg"), ("JPEG", "m.jpg!w640"),
        ("PNG", "n.txt"), ("JPEG", "o.JPG~"), ("JPEG", "p.jpg?size=large"), ("TIFF", "q.json"),
    ],
)  # fmt: skip
def test_content_is_an_image_whatever_its_name(form: str, name: str) -> None:
    assert content_of(encoded(form), name).format == form


@pytest.mark.parametrize(
    ("head", "name", "kind", "image"),
    [
        (FTYP + b"heic\0\0\0\0mif1heic", "a.heic", "HEIC image", True),
        (FTYP + b"mif1\0\0\0\0mif1heic", "a.jpg", "HEIC image", True),
        (FTYP + b"isom\0\0\0\0isommp41", "a.mp4", "video", False),
        (b"\xff\x0a" + bytes(20), "a.jxl", "JPEG XL image", True),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "a.jp2", "JPEG 2000 image", True),
        (b"8BPS\0\1", "a.psd", "Photoshop image", True),
        (b"P6\n4 4\n255\n", "a.ppm", "Netpbm image", True),
        (b"<svg xmlns='x'>", "a.svg", "SVG drawing", True),
        (b"II*\0\x10\0\0\0CR\2\0", "a.cr2", "camera raw image", True),
        (b"II*\0\x08\0\0\0\x01\0\xfe\0\x04\0\x01\0\0\0\x01\0\0\0", "a.nef", "camera raw image",
         True),
        (FTYP + b"crx \0\0\0\0crx isom", "a.CR3", "camera raw image", True),
        (b"\0\0\2\0", "a.tga", "Targa image", True),
        (b"\x0a\5\1\x08\0", "a.pcx", "PCX image", True),
        (b"\0\0\1\0\1\0", "a.ico", "icon", True),
        (b"", "a.jpg", "damaged image", True),
        (b"", "notes", "empty file", False),
        (b"<!DOCTYPE html><html>404", "a.jpg", "damaged image", True),
        (b"<html>", "index.html", "web page", False),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a.png", "damaged image", True),
        (b"PK\3\4", "a.zip", "archive", False),
        (b"PK\3\4", "a.png", "damaged image", True),
        (bytes(257) + b"ustar\0", "00000.tar", "archive", False),
        (b"a photo of a cat", "a.txt", "text file", False),
        (b"BMW, red, 1987", "a.caption", "text file", False),
        ("Köln".encode("utf-16"), "a.txt", "text file", False),
        (b"x" * 4095 + "é".encode()[:1], "a.txt", "text file", False),
        (b"file_name,text\n", "metadata.csv", "table or metadata file", False),
        (b'{"file_name": 1}\n', "metadata.jsonl", "table or metadata file", False),
        (b"PAR1", "train.parquet", "table", False),
        (b"\x93NUMPY", "a.npy", "array file", False),
        (b"\0\1\2\3", "Thumbs.db", "unknown file", False),
        (b"\0\1\2\3", "a.webp", "damaged image", True),
        (b"II*", "a.tif", "damaged image", True),
        (b"GIF8", "a.gif", "damaged image", True),
    ],
)  # fmt: skip
def test_what_is_not_decoded_is_called_what_it_is(
    head: bytes, name: str, kind: str, image: bool
) -> None:
    found = content_of(head, name)
    assert (found.format, found.kind, found.image) == ("", kind, image)
    assert found.reason.startswith(("is ", "has "))


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Make a folder of images, other files, hidden files and links, beside another folder."""
    folder, outside = tmp_path / "set", tmp_path / "outside"
    data = {
        "a.png": encoded("PNG"), "b/c": encoded("JPEG"), "b/deep/d.jpg_large": encoded("JPEG"),
        "a.txt": b"a caption", "b/metadata.csv": b"file,caption", ".hidden.png": encoded("PNG"),
        ".git/objects/x": b"x", ".git/HEAD": b"ref", "b/._c.jpg": b"\0\5\x16\7", "dead.jpg": b"",
        "c.heic": FTYP + b"heic\0\0\0\0mif1heic",
    }  # fmt: skip
    for name, content in data.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (outside / "more").mkdir(parents=True)
    (outside / "e.png").write_bytes(encoded("PNG"))
    (outside / "more" / "f.png").write_bytes(encoded("PNG"))
    for name, target in {
        "again.png": "a.png", "e-link": "../outside/e.png", "part": "../outside/more",
        "same": "b", "self": ".", "up": "..", "root": "/", "broken.png": "nothing",
        "loop": "loop", "ping": "pong", "pong": "ping",
    }.items():  # fmt: skip
        (folder / name).symlink_to(target)
    (outside / "more" / "back").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    return folder


def test_every_file_is_counted_once(mixed: Path) -> None:
    found = listed(mixed)
    assert [name for name, _ in found.images] == [
        "a.png", "again.png", "b/c", "b/deep/d.jpg_large", "e-link", "part/f.png",
    ]  # fmt: skip
    assert found.outside == ("e-link", "part/f.png")
    assert {one.file: one.kind for one in found.left_out} == {
        ".git/HEAD": "hidden file",
        ".git/objects/x": "hidden file",
        ".hidden.png": "hidden file",
        "a.txt": "text file",
        "b/._c.jpg": "hidden file",
        "b/metadata.csv": "table or metadata file",
        "broken.png": "broken link",
        "c.heic": "HEIC image",
        "dead.jpg": "damaged image",
        "loop": "broken link",
        "part/back": "repeated folder",
        "ping": "broken link",
        "pipe": "special file",
        "pong": "broken link",
        "root": "upward link",
        "same": "repeated folder",
        "self": "repeated folder",
        "up": "upward link",
    }
    assert all(one.reason.startswith(one.file) for one in found.left_out)
    lost = {one.file for one in found.left_out if one.lost}
    assert lost == {"broken.png", "c.heic", "dead.jpg", "loop", "ping", "pong"}


def test_a_folder_behind_a_link_is_the_same_folder(mixed: Path, tmp_path: Path) -> None:
    (tmp_path / "other-name").symlink_to(mixed)
    found, direct = listed(tmp_path / "other-name"), listed(mixed)
    assert [name for name, _ in found.images] == [name for name, _ in direct.images]
    assert found.outside == direct.outside


def test_what_this_user_may_not_read_is_counted(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.scandir

    def scandir(path: Path) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return whole(path)

    def opened(path: str, mode: str) -> IO[bytes]:
        raise PermissionError(13, "Permission denied")

    # Not by the mode of the files: the superuser reads them all.
    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(folder_files_module, "open", opened, raising=False)
    found = listed(mixed)
    assert not found.images
    kinds = {one.file: (one.kind, one.lost) for one in found.left_out}
    assert kinds["b"] == ("unreadable folder", True)
    assert kinds["a.png"] == ("unreadable file", True)
    assert not any(name.startswith("b/") for name in kinds)


def test_places_that_are_no_folder_are_sentences(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "self").symlink_to("self")
    for name, match in {
        "missing": "There is no folder",
        "file": "is a file: name the folder",
        "self": r"self cannot be read \(Too many levels",
        "x" * 300: r"cannot be read \(File name too long\)",
        "a\0b": r"a\\x00b cannot be read \(embedded null",
    }.items():
        with pytest.raises(MMHError, match=match):
            listed(tmp_path / name)


def test_a_folder_of_too_many_files_is_refused(
    mixed: Path,
) -> None:
    with pytest.raises(MMHError, match="more than 20 files"):
        list(folder_files(mixed, most=20))
