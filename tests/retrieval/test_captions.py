"""Captions in every form that data sets have arrive at their images; what is missing is named."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from mmh_core.records import MMHError
from mmh_core.retrieval.caption_match import BESIDE, captions_beside, matched
from mmh_core.retrieval.captions import FolderCaptions, read_captions
from tests.commands import refusal, status
from tests.retrieval.drawings import drawings

IMAGES = ["a.png", "sub/b.png", "café.png"]


def written(path: Path, data: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def found(path: Path, images: list[str] = IMAGES) -> FolderCaptions:
    return matched(read_captions(path), images, path.parent)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("t.csv", "file,caption\na.png,one\nsub/b.png,two\n"),
        ("t.csv", "\ufefffile_name,text\r\na.png,one\r\nsub/b.png,two\r\n\r\n"),
        ("t.csv", "File, Caption\na.png,one\nsub/b.png,two\n"),
        ("t.csv", "FileName;Text\na.png;one\nsub/b.png;two\n"),
        ("t.tsv", "image\tprompt\na.png\tone\nsub/b.png\ttwo\n"),
        ("t.csv", "file_name,text\na.png,one\nsub\\b.png,two\n"),
        ("t.csv", "file_name,text\n./a.png,one\n.\\sub\\b.png,two\n"),
        ("t.csv", "file_name,text\nA.PNG,one\nSUB/B.png,two\n"),
        ("t.csv", "key,caption\na,one\nb,two\n"),
        ("t.csv", ",path,text,note\n0,a.png,one,x\n1,sub/b.png,two,y\n"),
        ("t.csv", "file_name,text\na.png,one\nsub/b.png,two\n".encode("utf-16")),
        (
            "t.jsonl",
            '{"file_name": "a.png", "text": "one"}\n{"file_name":"sub/b.png","text":"two"}',
        ),
        (
            "t.json",
            '[{"image": "a.png", "caption": ["one"]}, {"image": "sub/b.png","caption":"two"}]',
        ),
        ("t.json", '{"a.png": "one", "sub/b.png": "two"}'),
        ("t.json", '{"a.png": {"caption": "one", "tags": "x"}, "sub/b.png": {"caption": "two"}}'),
        ("t.json", '{"file_name": ["a.png", "sub/b.png"], "text": ["one", "two"]}'),
    ],
)
def test_every_form_of_a_table_gives_the_captions(
    tmp_path: Path, name: str, data: str | bytes
) -> None:
    captions = found(written(tmp_path / name, data))
    assert captions.texts == {"a.png": "one", "sub/b.png": "two"}
    assert (captions.rows, captions.without_image) == (2, ())
    assert captions.without_caption == ("café.png",)


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("asked", ["NFC", "NFD"])
@pytest.mark.parametrize("name", ["café.png", "Größe Ä/ñ.png", "한국어.png", "パグ.png"])
def test_names_match_in_any_form_of_unicode(
    tmp_path: Path, stored: str, asked: str, name: str
) -> None:
    image = unicodedata.normalize(stored, name)  # type: ignore[arg-type]
    row = unicodedata.normalize(asked, name)  # type: ignore[arg-type]
    path = written(tmp_path / "t.csv", f"file_name,text\n{row},one\n")
    assert found(path, [image]).texts == {image: "one"}


def test_names_that_two_images_share_without_case_or_ending_match_none(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "file_name,text\nA.PNG,one\nx,two\nb.png,three\n")
    captions = found(path, ["a.png", "A.png", "x.png", "x.jpg", "b.png", "sub/b.png"])
    assert captions.texts == {"b.png": "three"}
    assert captions.without_image == ("A.PNG", "x")
    # A name that is there as it is wins over those that are like it.
    path = written(tmp_path / "t.csv", "file_name,text\nA.png,one\na\\b.png,two\n")
    assert found(path, ["a.png", "A.png", "a\\\\b.png"]).texts == {
        "A.png": "one",
        "a\\\\b.png": "two",
    }


def test_rows_and_images_without_the_other_are_counted_and_named(tmp_path: Path) -> None:
    lines = ["a.png,one", "c.png,gone", "a.png,again", ",nameless", "../x.png,out", "A.PNG,more"]
    lines += [f"sub/b.png,{'x' * 10_001}", "sub/b.png,a cat, asleep", "caf\xe9.png,\udcff"]
    text = "file,caption\n" + "\n".join(lines) + "\n"
    path = written(tmp_path / "t.csv", text.encode(errors="surrogateescape"))
    captions = found(path)
    assert captions.texts == {"a.png": "one"}
    assert captions.without_image == ("c.png", "../x.png")
    assert captions.without_caption == ("sub/b.png", "café.png")
    assert captions.repeated == ("a.png", "A.PNG")
    assert len(captions.problems) == 4
    for said, part in zip(
        captions.problems,
        ("Row 4 .* names no file", "Row 7 .* longer than", "Row 8 .* 3 cells", "Row 9 .* UTF-8"),
        strict=True,
    ):
        assert re.search(part, said)
    assert captions.rows == 9 == 1 + 2 + 2 + 4
    said = captions.sentence()
    assert said.startswith("1 of 3 images has a caption, from t.csv. 2 rows without an image")
    assert "('c.png', '../x.png'). 2 images without a caption ('sub/b.png', 'café.png')." in said


def test_a_table_of_other_images_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "file,caption\nx.png,one\ny.png,two\n")
    with pytest.raises(MMHError, match=r"None of the 2 rows .* names 'x.png', .* holds 'a.png'"):
        found(path)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "is empty: save the table again"),
        ("a,b\n", "no column file_name, file or image .*has 'a', 'b'"),
        ("file\na.png\n", r"no column text or caption .*has 'file'"),
        ("file,caption,file\na.png,x,b.png\n", "2 columns 'file'"),
        ("file,caption,text\na.png,x,x\nb.png,x,y\n", "differ in row 2: .* --column caption or"),
        (",".join(f"c{i}" for i in range(101)) + "\n", "more than 100 columns"),
        ('[{"file_name": "a.png"', "cannot be read as JSON"),
    ],
)
def test_tables_without_the_two_columns_are_sentences(
    tmp_path: Path, text: str, match: str
) -> None:
    with pytest.raises(MMHError, match=match):
        read_captions(written(tmp_path / "x.csv", text))


def test_bounds_hold(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    with pytest.raises(MMHError, match="no file"):
        read_captions(path)
    written(path, b"PAR1 and nothing else")
    with pytest.raises(MMHError, match="cut off or damaged"):
        read_captions(path)
    for save in (pd.DataFrame.to_csv, pd.DataFrame.to_parquet):
        save(pd.DataFrame({"file": ["a", "b"], "caption": ["x", "y"]}), path, index=False)
        assert read_captions(path, most=2).captions == {"a": "x", "b": "y"}
        with pytest.raises(MMHError, match="more than 1 rows"):
            read_captions(path, most=1)
    with pytest.raises(MMHError, match="larger than"):
        read_captions(path, largest=10)


@pytest.mark.parametrize("name", BESIDE)
def test_a_table_in_the_folder_counts_and_texts_fill_its_gaps(tmp_path: Path, name: str) -> None:
    table = pd.DataFrame({"file_name": ["a.png", "gone.png"], "text": ["one", "x"]})
    path = tmp_path / name
    if name.endswith("parquet"):
        table.to_parquet(path)
    elif "json" in name:
        table.to_json(path, orient="records", lines=name.endswith("l"))
    else:
        table.to_csv(path, index=False, sep="\t" if name.endswith("tsv") else ",")
    written(tmp_path / "a.txt", "not this")
    written(tmp_path / "sub" / "b.txt", "\ufefftwo\nlines \n")
    captions = captions_beside(tmp_path, IMAGES)
    assert captions.texts == {"a.png": "one", "sub/b.png": "two\nlines"}
    assert captions.without_image == ("gone.png",)
    assert captions.without_caption == ("café.png",)
    assert captions.source == f"{name} and texts beside them"
    assert captions.used == {name, "sub/b.txt"}


def test_texts_that_are_none_are_named_and_other_metadata_is_left_alone(tmp_path: Path) -> None:
    written(tmp_path / "metadata.csv", "camera,lens\nx,y\n")
    written(tmp_path / "a.txt", b"\xff\xfe\x00")
    written(tmp_path / "sub" / "b.png.txt", "two".encode("utf-16"))
    written(tmp_path / "café.caption", "x" * 10_001)
    captions = captions_beside(tmp_path, IMAGES)
    assert captions.texts == {"sub/b.png": "two"}
    assert captions.without_caption == ("a.png", "café.png")
    assert [said.split()[0] for said in captions.problems] == [
        "metadata.csv", "a.txt", "café.caption",
    ]  # fmt: skip
    assert captions.sentence().startswith("1 of 3 images has a caption, from texts beside them. 2")
    assert captions_beside(tmp_path / "none", IMAGES) == FolderCaptions(
        without_caption=tuple(IMAGES)
    )


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("metadata.csv", "camera,lens\nx,y\n", "no column file_name"),
        ("metadata.csv", "", "is empty"),
        ("metadata.csv", b"\x00\x01\x02" * 9, "metadata.csv"),
        ("metadata.csv", "file_name,width\na.png,3\n", "no column text or caption"),
        ("metadata.csv", "file_name,text,caption\na.png,x,y\n", "--column"),
        ("metadata.csv", "file_name,file_name,text\na.png,b.png,y\n", "2 columns"),
        ("metadata.jsonl", "{not json", "metadata.jsonl"),
        ("metadata.json", "[" * 5000, "metadata.json"),
        ("metadata.parquet", b"PAR1 and nothing else", "cut off or damaged"),
        ("metadata.tsv", "a\tb\n1\t2\n", "no column file_name"),
        ("sub/metadata.csv", "file_name,text\nb.png,x\n", "index that folder by itself"),
    ],
)
def test_a_table_beside_the_images_that_cannot_be_used_is_named_and_the_rest_kept(
    tmp_path: Path, name: str, content: str | bytes, says: str
) -> None:
    written(tmp_path / name, content)
    captions = captions_beside(tmp_path, IMAGES)
    assert captions.texts == {} and captions.without_caption == tuple(IMAGES)
    assert captions.source == "" and captions.used == frozenset()
    [problem] = captions.problems
    assert problem.startswith(f"{name} was not used: ") and says in problem
    assert f"1 not used: {name}" in captions.sentence()
    assert captions.record()["not_used"] == [problem]
    written(tmp_path / "a.txt", "one")
    assert captions_beside(tmp_path, IMAGES).texts == {"a.png": "one"}


@pytest.mark.parametrize("rows", ["x.png,one\ny.png,two\n", "", "../a,x\n", ",\n,x\n"])
def test_a_table_beside_the_images_that_names_none_is_counted_and_the_rest_kept(
    tmp_path: Path, rows: str
) -> None:
    written(tmp_path / "metadata.csv", f"file_name,text\n{rows}")
    written(tmp_path / "metadata.jsonl", '{"file_name": "a.png", "text": "x"}\n')
    captions = captions_beside(tmp_path, IMAGES)
    assert captions.texts == {} and captions.source == "metadata.csv"
    assert captions.rows == rows.count("\n")
    told = len(captions.without_image) + len(captions.problems) - 1
    assert told == captions.rows
    assert "metadata.jsonl was not used: metadata.csv was." in captions.problems
    assert "0 of 3 images have a caption, from metadata.csv." in captions.sentence()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("café".encode("latin-1"), "not in UTF-8, perhaps in Latin-1"),
        ("“x”".encode("cp1252"), "not in UTF-8, perhaps in Latin-1"),
        ("画像".encode("gbk"), "not in UTF-8"),
        (b"\xff\xfe\x00", "looks like UTF-16"),
        ("x" * 10_001, "longer than 10,000 characters"),
        ("é" * 40_000, "longer than 10,000 characters"),
        (b"x\x00y", "null characters"),
    ],
)
def test_a_text_beside_an_image_that_is_none_is_called_what_it_is(
    tmp_path: Path, data: str | bytes, says: str
) -> None:
    written(tmp_path / "a.txt", data)
    captions = captions_beside(tmp_path, IMAGES)
    [problem] = captions.problems
    assert problem.startswith("a.txt ") and says in problem and captions.texts == {}


def test_captions_count_images_that_are_indexed_and_texts_that_say_something(
    tmp_path: Path,
) -> None:
    texts = {"a.png": "one", "sub/b.png": "", "café.png": "two"}
    whole = FolderCaptions("t.csv", texts, 5, ("c.png",), ("d.png", "e.png"), ("a.png",))
    kept = whole.of_indexed(["a.png", "sub/b.png", "e.png"])
    assert kept.sentence() == (
        "1 of 3 images has a caption, from t.csv. 1 row without an image ('c.png'). 1 image "
        "without a caption ('e.png'). 1 image with an empty caption ('sub/b.png'). 1 captioned "
        "image not indexed ('café.png'). 1 row that repeats an image ('a.png')."
    )
    found = kept.record()
    assert (found["captioned"], found["captions_empty"]) == (1, ["sub/b.png"])
    assert found["captions_of_images_not_indexed"] == ["café.png"]
    assert kept.rows == len(kept.texts) + len(kept.lost) + 1 + 1


def test_an_index_counts_captions_and_names_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name, image in zip("ab", drawings(2), strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{name}.png")
    table = written(tmp_path / "t.csv", "File, Caption\na.png,one\nc.png,gone\n")
    for out, options in (("o1", ["--captions", str(table)]), ("o2", [])):
        if not options:
            written(folder / "b.txt", "two")
        assert status("index", folder, "--out", tmp_path / out, *options) == 0
        printed = capsys.readouterr()
        summary = json.loads(printed.out)
        assert summary["captions"] == 1
        told = summary["captions_from"]
        missing = ["b.png"] if options else ["a.png"]
        assert told["images_without_caption"] == missing
        assert "1 of 2 images has a caption" in printed.err
        if options:
            assert told["rows_without_image"] == ["c.png"]
            assert "1 row without an image ('c.png')" in printed.err
        else:
            [text] = summary["skipped"]
            assert (text["file"], text["kind"]) == ("b.txt", "caption file")


def test_a_faulty_table_is_refused_before_the_embedder_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = written(tmp_path / "t.csv", "camera\nx\n")
    arguments = ["--captions", table, "--embedder", "clip:nowhere"]
    sentence = refusal(capsys, "index", tmp_path, "--out", tmp_path / "o", *arguments)
    assert "no column file_name" in sentence
