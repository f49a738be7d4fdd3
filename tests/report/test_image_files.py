"""PNG files that say how they were drawn: round trips, and files made to do harm."""

from __future__ import annotations

import io
import json
import math
import struct
import zlib
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from mmh_core.formats.texts import is_blank
from mmh_core.records import MMHError
from mmh_core.report.image_files import (
    KEYWORD,
    MOST_BYTES,
    ImageMetadata,
    metadata_of,
    png_bytes,
    read_image_metadata,
    settings_of,
)
from mmh_core.studies.images.run import ImageConfig
from mmh_core.text_to_image.requests import Sampling
from tests.drawn_runs import drawn_run

ABOUT = ImageMetadata(
    prompt="a portrait of <b>Aldo</b> ![x](http://example.org/x.png)",
    negative="blurry & dark",
    seed=2**63 - 1,
    steps=25,
    guidance=6.25,
    scheduler="dpm++ 2m",
    height=8,
    width=16,
    model="pocket-sd",
    sha256="0f" * 32,
    noise_sha256="a0" * 32,
    log_delta=-0.5203,
    lid=7.25,
    lid_error=0.125,
    lid_unconditional=21.0,
    lid_unconditional_error=math.nan,
    percentile=0.01,
    verdict="exact copy",
    lid_draws=8,
    lid_unconditional_draws=2,
)
IMAGE = torch.arange(3 * 8 * 16, dtype=torch.int64).remainder(256).to(torch.uint8)
IMAGE = IMAGE.reshape(3, 8, 16)

#: What a file says, word by word.
TEXT = json.dumps(asdict(ABOUT)).replace("NaN", "null")

#: Everything but surrogates and control characters, which no prompt may hold.
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=60)
finite = st.floats(allow_nan=False, allow_infinity=False)
figures = st.one_of(finite, st.just(math.nan))
errors = st.one_of(st.floats(0, 1e300), st.just(math.nan))
abouts = st.builds(
    replace,
    st.just(ABOUT),
    prompt=texts.filter(lambda text: not is_blank(text)),
    negative=texts,
    seed=st.integers(0, 2**63 - 1),
    steps=st.integers(1, 1000),
    guidance=st.floats(-1000, 1000),
    log_delta=figures,
    lid=figures,
    lid_error=errors,
    lid_unconditional=figures,
    lid_draws=st.one_of(st.integers(1, 99), st.none()),
    lid_unconditional_draws=st.one_of(st.integers(1, 99), st.none()),
    percentile=st.one_of(st.floats(0, 1), st.just(math.nan)),
    verdict=st.sampled_from(["exact copy", "suspicious, no copy found", "not read yet"]),
)


def same(first: ImageMetadata | None, second: ImageMetadata) -> bool:
    """Compare field by field, a NaN being equal to itself."""
    return first is not None and repr(asdict(first)) == repr(asdict(second))


def with_chunk(content: bytes, *, kind: bytes = b"iTXt", checksum: int | None = None) -> bytes:
    """Return a PNG into which a chunk is put behind its header."""
    plain = png_bytes(IMAGE, None)
    crc = zlib.crc32(kind + content) if checksum is None else checksum
    chunk = struct.pack(">I4s", len(content), kind) + content + struct.pack(">I", crc)
    return plain[:33] + chunk + plain[33:]


def with_text(text: str | bytes) -> bytes:
    """Return a PNG whose chunk of ours holds this text."""
    raw = text if isinstance(text, bytes) else text.encode()
    return with_chunk(KEYWORD.encode() + b"\0\0\0\0\0" + raw)


def changed(**values: object) -> bytes:
    """Return a PNG that claims these values, `...` standing for a field that is left out."""
    claims = {k: v for k, v in (json.loads(TEXT) | values).items() if v is not ...}
    return with_text(json.dumps(claims))


@settings(deadline=None, max_examples=150)
@given(abouts)
def test_what_is_written_is_read_again(about: ImageMetadata) -> None:
    data = png_bytes(IMAGE, about)
    assert same(read_image_metadata(data), about)
    assert data == png_bytes(IMAGE, about)


@pytest.mark.parametrize(
    "prompt",
    [
        "日本語の犬 🐕",
        "<script>alert(1)</script>",
        "**bold** `code`",
        "line\nbreak\ttab",
        "\u202ertl",
    ],
)
def test_any_prompt_that_may_be_drawn_survives(prompt: str) -> None:
    about = replace(ABOUT, prompt=prompt)
    assert same(read_image_metadata(png_bytes(IMAGE, about)), about)


def test_a_prompt_of_the_greatest_length_fits() -> None:
    about = replace(ABOUT, prompt="🐕" * 10_000, negative="🐕" * 10_000)
    assert same(read_image_metadata(png_bytes(IMAGE, about)), about)


def test_the_pixels_are_untouched_and_any_reader_takes_the_file() -> None:
    for about in (None, ABOUT):
        with Image.open(io.BytesIO(png_bytes(IMAGE, about))) as image:
            found = torch.from_numpy(np.array(image)).permute(2, 0, 1)
            texts = dict(image.text)  # type: ignore[attr-defined]
        assert torch.equal(found, IMAGE)
        assert list(texts) == ([] if about is None else [KEYWORD])
    assert json.loads(texts[KEYWORD])["prompt"] == ABOUT.prompt


def test_settings_draw_that_image_alone() -> None:
    assert settings_of(ABOUT) == ImageConfig(
        "pocket-sd",
        (ABOUT.prompt,),
        (2**63 - 1,),
        Sampling(25, 6.25, 8, 16, "dpm++ 2m", "blurry & dark"),
    )


def test_a_image_of_a_run_carries_its_own_figures() -> None:
    run = drawn_run()
    about = metadata_of(run, run.images[1])
    lid = run.images[1].lid
    assert lid is not None
    assert (about.prompt, about.seed) == (run.images[1].prompt, run.images[1].seed)
    assert (about.lid, about.lid_error, about.percentile) == (
        lid.conditional,
        lid.conditional_error,
        lid.percentile,
    )
    assert (about.sha256, about.noise_sha256) == (run.sha256, run.noise_sha256)
    unread = replace(run.images[1], lids=(), verdict="not read yet")
    assert math.isnan(metadata_of(run, unread).lid)


def test_foreign_files_say_nothing() -> None:
    jpeg = io.BytesIO()
    Image.fromarray(IMAGE.permute(1, 2, 0).numpy()).save(jpeg, "JPEG")
    note = PngImagePlugin.PngInfo()
    note.add_text("parameters", "a dog, Steps: 20")
    note.add_itxt("parameters", "a dog")
    note.add_itxt(KEYWORD + "2", "{}")
    foreign = io.BytesIO()
    Image.fromarray(IMAGE.permute(1, 2, 0).numpy()).save(foreign, "PNG", pnginfo=note)
    whole = png_bytes(IMAGE, ABOUT)
    for data in (b"", b"\x89PNG", jpeg.getvalue(), foreign.getvalue(), whole[1:]):
        assert read_image_metadata(data) is None
    assert read_image_metadata(png_bytes(IMAGE, None)) is None
    # The same bytes as another kind of chunk, and behind the end of the image.
    assert read_image_metadata(with_chunk(KEYWORD.encode() + b"\0{}", kind=b"tEXt")) is None
    chunk = whole[33 : whole.index(b"IDAT") - 4]
    assert same(read_image_metadata(whole[:33] + chunk), ABOUT)
    assert read_image_metadata(png_bytes(IMAGE, None) + chunk) is None


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_damaged_file_gives_a_sentence_or_nothing_or_the_truth(data: st.DataObject) -> None:
    whole = bytearray(png_bytes(IMAGE, ABOUT))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(whole)))
    for damaged in (bytes(whole), bytes(whole[:cut])):
        try:
            found = read_image_metadata(damaged)
        except MMHError:
            continue
        assert found is None or same(found, ABOUT)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200))
def test_any_content_of_our_chunk_gives_a_sentence(content: bytes) -> None:
    with pytest.raises(MMHError):
        read_image_metadata(with_chunk(KEYWORD.encode() + b"\0" + content))


json_values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())
)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(sorted(asdict(ABOUT))), json_values)
def test_any_value_of_a_field_is_taken_whole_or_refused(name: str, value: object) -> None:
    try:
        found = read_image_metadata(changed(**{name: value}))
    except MMHError:
        return
    assert found is not None
    kept = getattr(found, name)
    if kept is None and name.endswith("draws"):  # Unknown, as in older files.
        assert value is None
        return
    assert type(kept) is type(getattr(ABOUT, name))
    kept = list(kept) if isinstance(kept, tuple) else kept
    assert kept == value or (value is None and math.isnan(kept))


@pytest.mark.parametrize(
    "claims",
    [
        {"seed": -1},
        {"seed": 2**63},
        {"seed": 1.0},
        {"seed": True},
        {"steps": 0},
        {"steps": 10**9},
        {"height": 10**6},
        {"height": 12},
        {"width": "16"},
        {"prompt": ""},
        {"prompt": None},
        {"prompt": "x" * 10_001},
        {"prompt": "a\ud800b"},
        {"negative": "\x00"},
        {"scheduler": "magic"},
        {"model": ""},
        {"model": "x" * 201},
        {"sha256": "0F" * 32},
        {"sha256": "0f" * 32 + "\n"},
        {"noise_sha256": ""},
        {"guidance": None},
        {"guidance": math.nan},
        {"lid": math.inf},
        {"lid": 10**400},
        {"lid_error": -0.1},
        {"percentile": 1.5},
        {"verdict": "innocent"},
        {"version": 2},
        {"version": ...},
        {"extra": 1},
    ],
)
def test_impossible_claims_are_refused(claims: dict[str, object]) -> None:
    with pytest.raises(MMHError):
        read_image_metadata(changed(**claims))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        "[" * 100_000,
        '{"prompt":NaN}',
        TEXT.replace("7.25", "1e999"),
        TEXT.replace("7.25", "Infinity"),
        TEXT.replace("7.25", "9" * 5_000),
        b"\xff\xfe",
        "x" * (MOST_BYTES + 1),
    ],
)
def test_what_is_no_settings_is_refused(text: str | bytes) -> None:
    with pytest.raises(MMHError):
        read_image_metadata(with_text(text))


def test_compressed_text_is_not_unpacked() -> None:
    bomb = zlib.compress(b" " * 10_000_000)
    with pytest.raises(MMHError, match="another way"):
        read_image_metadata(with_chunk(KEYWORD.encode() + b"\0\1\0\0\0" + bomb))


def test_a_wrong_checksum_is_refused() -> None:
    content = KEYWORD.encode() + b"\0\0\0\0\0" + TEXT.encode()
    assert same(read_image_metadata(with_chunk(content)), ABOUT)
    with pytest.raises(MMHError, match="damaged"):
        read_image_metadata(with_chunk(content, checksum=0))


def test_a_chunk_that_claims_gigabytes_is_refused_at_once() -> None:
    start = png_bytes(IMAGE, None)[:33]
    claim = struct.pack(">I4s", 2**31 - 1, b"iTXt") + KEYWORD.encode() + b"\0\0\0\0\0{}"
    with pytest.raises(MMHError, match="damaged"):
        read_image_metadata(start + claim)


@pytest.mark.parametrize(
    "image",
    [torch.zeros(3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.uint8), IMAGE[None], IMAGE[0]],
)
def test_what_is_no_image_is_refused(image: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(3, H, W\)"):
        png_bytes(image, None)


def test_settings_from_before_there_were_windows_are_read_as_one() -> None:
    values = json.loads(TEXT)
    del values["windows"]
    assert same(read_image_metadata(with_text(json.dumps(values))), ABOUT)


def test_settings_from_before_probes_were_counted_leave_their_number_unknown() -> None:
    unknown = replace(ABOUT, lid_draws=None, lid_unconditional_draws=None)
    values = json.loads(TEXT)
    del values["lid_draws"], values["lid_unconditional_draws"]
    assert same(read_image_metadata(with_text(json.dumps(values))), unknown)


@pytest.mark.parametrize("draws", [0, -1, 2.5, "8"])
def test_an_impossible_number_of_probes_is_refused(draws: object) -> None:
    with pytest.raises(MMHError):
        read_image_metadata(changed(lid_draws=draws))
