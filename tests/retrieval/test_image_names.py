"""Names of files become text and come back, and none leads out of its folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmh_core.records import MMHError
from mmh_core.retrieval.image_names import (
    escaped,
    named_training_image,
    path_below,
    printable_path,
    unescaped,
)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("a/b c.png", "a/b c.png"),
        ("Müller 画像 🎨.png", "Müller 画像 🎨.png"),
        (os.fsdecode(b"caf\xe9.png"), r"caf\xe9.png"),
        (os.fsdecode("画.png".encode("gbk")), r"\xbb\xad.png"),
        ("line\nbreak\x7f.png", r"line\x0abreak\x7f.png"),
        (r"caf\xe9.png", r"caf\\xe9.png"),
        (r"a\\b", r"a\\\\b"),
        ("\ud800.png", r"\ud800.png"),
    ],
)
def test_names_are_printable_and_come_back(name: str, label: str) -> None:
    assert escaped(name) == label
    assert label.encode("utf-8")
    assert unescaped(label) == name


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("", "7"),
        ("a/b c.png", "7 (a/b c.png)"),
        (r"caf\xe9.png", r"7 (caf\xe9.png)"),
        ("画像.png", "7 (画像.png)"),
        ("a\nb\x1b[2J.png", r"7 (a\x0ab\x1b[2J.png)"),
        ("x" * 500 + "/end.png", f"7 (…{'x' * 111}/end.png)"),
    ],
)
def test_an_id_in_a_sentence_has_its_file_on_one_line(label: str, words: str) -> None:
    assert named_training_image("7", label) == words


def test_any_bytes_come_back() -> None:
    every = os.fsdecode(bytes(range(1, 256)))
    assert unescaped(escaped(every)) == every
    assert escaped(every).encode("utf-8").count(b"\n") == 0
    # What no version of ours has written is taken as it stands.
    assert unescaped(r"a\b\xzz") == r"a\b\xzz"


def test_a_path_in_a_sentence_keeps_its_backslashes() -> None:
    assert printable_path(Path("C:\\images\nx")) == r"C:\images\x0ax"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a folder with a file, links to inside and outside, and a secret beside it."""
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    for path in (folder / "sub" / "a.png", tmp_path / "secret.png"):
        path.write_bytes(b"")
    (folder / "inside.png").symlink_to("sub/a.png")
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "up").symlink_to("..")
    return folder


@pytest.mark.parametrize("label", ["sub/a.png", "inside.png", "./sub/a.png", "new.png"])
def test_names_below_the_folder_are_its_paths(images: Path, label: str) -> None:
    assert path_below(images, label) == images / label


@pytest.mark.parametrize(
    "label",
    [
        "../secret.png", "sub/../../secret.png", "sub/../inside.png", "/etc/passwd", "", ".",
        r"\x2e\x2e/secret.png", r"\x2fetc/passwd", "out.png", "up/secret.png", "up/images/out.png",
        r"a\x00.png", "//etc/passwd",
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(images: Path, label: str) -> None:
    with pytest.raises(MMHError, match="The index names the image"):
        path_below(images, label)


def test_a_folder_that_is_itself_a_link_is_the_folder(images: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(images)
    assert path_below(tmp_path / "link", "sub/a.png") == tmp_path / "link" / "sub" / "a.png"
