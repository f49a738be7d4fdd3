"""A zip of images is unpacked into its folder and nowhere else, or refused in a sentence."""

from __future__ import annotations

import shutil
import stat
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_LZMA, ZipFile, ZipInfo

import pytest

from mmh_core.records import MMHError
from mmh_core.retrieval import image_zip
from mmh_core.retrieval.image_zip import images_root, unpack_images


def zipped(*names: str, content: bytes = b"x" * 10) -> BytesIO:
    data = BytesIO()
    with ZipFile(data, "w") as archive:
        for name in names:
            archive.writestr(name, content)
    return data


def unpacked(data: BytesIO, folder: Path) -> int:
    """Unpack all, and return how many entries were left out."""
    *_, last = unpack_images(data, folder, "photos.zip")
    assert last.fraction == pytest.approx(1)
    return last.partial


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_files_keep_their_names_and_a_macs_own_are_left_out(tmp_path: Path) -> None:
    data = zipped("a/b.png", "a\\c d.png", "ü.png", "__MACOSX/a/._b.png")
    assert unpacked(data, tmp_path / "out") == 1
    assert files(tmp_path / "out") == ["a/b.png", "a/c d.png", "ü.png"]
    assert (tmp_path / "out" / "a" / "b.png").read_bytes() == b"x" * 10


def test_links_are_never_made(tmp_path: Path) -> None:
    data, link = BytesIO(), ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with ZipFile(data, "w") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("a.png", b"x")
    assert unpacked(data, tmp_path / "out") == 1
    assert files(tmp_path / "out") == ["a.png"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("../a.png", "leads out of its folder"),
        ("a/../../b.png", "leads out of its folder"),
        ("/etc/a.png", "leads out of its folder"),
        ("..\\a.png", "leads out of its folder"),
        ("C:/a.png", "leads out of its folder"),
        ("a" * 201, "is too long"),
        ("/".join("a" * 33), "is too long"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(name: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(MMHError, match=sentence):
        list(unpack_images(zipped("ok.png", name), tmp_path / "in" / "out", "photos.zip"))
    assert files(tmp_path) == ["in/out/ok.png"]


def test_what_is_too_large_or_no_zip_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(data: BytesIO, sentence: str) -> None:
        with pytest.raises(MMHError, match=sentence):
            list(unpack_images(data, tmp_path / "out", "photos.zip"))
        assert files(tmp_path) == []
        shutil.rmtree(tmp_path / "out", ignore_errors=True)

    refused(BytesIO(b"no zip"), "'photos.zip' is no zip file of images, or damaged")
    packed = BytesIO()
    with ZipFile(packed, "w", ZIP_LZMA) as archive:
        archive.writestr("a.png", b"x")
    refused(packed, "packed in another way")
    with monkeypatch.context() as patch:
        patch.setattr(image_zip, "MAX_ENTRIES", 1)
        refused(zipped("a", "b"), "lists 2 entries, more than 1")
    with monkeypatch.context() as patch:
        patch.setattr(image_zip, "MAX_UNPACKED", 19)
        refused(zipped("a", "b"), "unpacks to more than")
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Disk", (), {"free": 19}))
    refused(zipped("a", "b"), "free some space")


def test_a_damaged_entry_is_named_as_damage(tmp_path: Path) -> None:
    data = bytearray(zipped("a.png", content=b"y" * 100).getvalue())
    data[60] ^= 1
    with pytest.raises(MMHError, match="damaged"):
        list(unpack_images(BytesIO(bytes(data)), tmp_path / "out", "photos.zip"))


@pytest.mark.parametrize(
    ("names", "captioned", "root"),
    [
        (("photos/a.png", "photos/b/c.png"), (), "photos"),
        (("photos/a.png",), ("photos/a.png",), "."),
        (("photos/a.png",), ("a.png",), "photos"),
        (("photos/a.png", "metadata.csv"), (), "."),
        (("a.png",), (), "."),
    ],
)
def test_images_begin_in_the_one_folder_of_a_zip(
    names: tuple[str, ...], captioned: tuple[str, ...], root: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    unpacked(zipped(*names), out)
    assert images_root(out, captioned) == out / root
