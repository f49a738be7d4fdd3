"""The tokenizer encodes any text, learns the pairs that are frequent, and is read as CLIP's."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmh_core.pocket.tokenizer import (
    END,
    LENGTH,
    START,
    load_tokenizer,
    token_ids,
    train_tokenizer,
)

CAPTIONS = ["a red circle", "a red square", "a blue circle", "portrait of Ann", "A red circle"] * 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tokenizer's folder."""
    place = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(CAPTIONS, place, vocabulary=600)
    return place


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    """Return the tokenizer, loaded."""
    return load_tokenizer(folder)


def as_bytes(tokenizer: Any, text: str) -> bytes:
    """Return the bytes that the tokens of a text stand for, ends of words left out."""
    from tokenizers.pre_tokenizers import ByteLevel

    # The table of byte letters: each byte that stands alone in UTF-8 is found by writing it.
    shown = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = {chr(byte): byte for byte in shown}
    letters |= {chr(256 + i): byte for i, byte in enumerate(hidden)}
    assert set(letters) == set(ByteLevel.alphabet())
    ids = tokenizer(text, add_special_tokens=False).input_ids
    parts = tokenizer.convert_ids_to_tokens(ids)
    return bytes(letters[letter] for part in parts for letter in part.replace("</w>", ""))


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_is_kept_byte_for_byte_but_for_case_and_space(tokenizer: Any, text: str) -> None:
    wanted = unicodedata.normalize("NFC", text)
    found = as_bytes(tokenizer, text).decode()
    # Letters are lowered one by one: the final sigma of str.lower is no rule of CLIP's.
    lowered = "".join(letter.lower() for letter in wanted)
    assert "".join(found.split()) == "".join(lowered.split())


def test_case_and_runs_of_space_do_not_matter(tokenizer: Any) -> None:
    one, two = token_ids(tokenizer, ["A  RED\tCircle ", "a red circle"])
    assert one.tolist() == two.tolist()


def test_a_prompt_is_start_text_end_and_ends_up_to_the_length(tokenizer: Any) -> None:
    vocabulary = tokenizer.get_vocab()
    start, end = vocabulary[START], vocabulary[END]
    assert (start, end) == (len(vocabulary) - 2, len(vocabulary) - 1)
    empty, short, long = token_ids(tokenizer, ["", "a red circle", "q z " * 40]).tolist()
    assert empty == [start] + [end] * (LENGTH - 1)
    words = [vocabulary[word + "</w>"] for word in ("a", "red", "circle")]
    assert short == [start, *words] + [end] * (LENGTH - 4)
    assert len(long) == LENGTH == 32
    assert long[0] == start
    assert long[-1] == end
    assert end not in long[1:-1]


def test_merges_follow_the_counts_then_the_alphabet(tmp_path: Path) -> None:
    # ab 3 times, bc 2, yz 2; all are ends of words. Nothing else occurs twice.
    train_tokenizer(["ab ab ab yz bc", "bc yz q"], tmp_path, vocabulary=1000)
    lines = (tmp_path / "merges.txt").read_text().splitlines()
    assert lines[1:] == ["a b</w>", "b c</w>", "y z</w>"]
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    assert len(vocabulary) == 512 + 3 + 2
    assert sorted(vocabulary.values()) == list(range(517))


def test_a_pair_that_repeats_is_merged_from_the_left(tmp_path: Path) -> None:
    train_tokenizer(["aaab aaab"], tmp_path, vocabulary=515)
    assert (tmp_path / "merges.txt").read_text().splitlines()[1:] == ["a a"]
    ids = load_tokenizer(tmp_path)("aaab", add_special_tokens=False).input_ids
    assert load_tokenizer(tmp_path).convert_ids_to_tokens(ids) == ["aa", "a", "b</w>"]


def test_files_are_the_same_bytes_whatever_the_order_of_captions(
    folder: Path, tmp_path: Path
) -> None:
    train_tokenizer(reversed(CAPTIONS), tmp_path, vocabulary=600)
    names = ["merges.txt", "tokenizer_config.json", "vocab.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_plain_transformers_gives_the_same_ids(folder: Path, tokenizer: Any) -> None:
    from transformers import AutoTokenizer

    plain = AutoTokenizer.from_pretrained(str(folder))
    texts = ["a red circle", "Portrait of Zoë in 2026!", "\N{SNOWMAN} <3"]
    found = plain(texts, padding="max_length").input_ids
    assert found == token_ids(tokenizer, texts).tolist()
    assert plain.model_max_length == LENGTH


def test_the_vocabulary_is_a_bound_and_has_one(tmp_path: Path) -> None:
    train_tokenizer(CAPTIONS, tmp_path, vocabulary=514)
    assert (tmp_path / "merges.txt").read_text() == "#version: 0.2\n"
    assert len(json.loads((tmp_path / "vocab.json").read_text())) == 514
    with pytest.raises(ValueError, match="at least 514, got 513"):
        train_tokenizer(CAPTIONS, tmp_path, vocabulary=513)
