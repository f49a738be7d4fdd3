"""Prompts of other programs are found as those write them, and hostile files give none."""

from __future__ import annotations

import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from mmh_core.formats.embedded_prompts import MOST_LETTERS, ForeignPrompt, prompts_in

IMAGE = Image.new("RGB", (8, 8), (9, 99, 199))
A1111 = (
    "a cat, (masterpiece:1.2), <lora:x:0.8>\nsecond line\n"
    "Negative prompt: ugly, text\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1"
)
SAID = "a cat, (masterpiece:1.2), <lora:x:0.8> second line"
GRAPH = {
    "3": {
        "class_type": "KSampler",
        "inputs": {"seed": 1, "positive": ["16", 0], "negative": ["7", 0], "model": ["4", 0]},
    },
    "16": {"class_type": "ConditioningCombine", "inputs": {"conditioning_1": ["6", 0]}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": ["9", 0], "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "ugly", "clip": ["4", 1]}},
    "9": {"class_type": "PrimitiveString", "inputs": {"value": "a fox in snow"}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "prompt.safetensors"}},
}
FLUX = {
    "13": {"class_type": "SamplerCustomAdvanced", "inputs": {"guider": ["22", 0]}},
    "22": {"class_type": "BasicGuider", "inputs": {"conditioning": ["26", 0], "model": ["1", 0]}},
    "26": {"class_type": "FluxGuidance", "inputs": {"guidance": 3.5, "conditioning": ["6", 0]}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a heron", "is_changed": [None]}},
}


def png(packed: bool = False, **texts: str) -> bytes:
    note = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        note.add_text(key.replace("_dash_", "-"), text, zip=packed)
    stream = io.BytesIO()
    IMAGE.save(stream, "PNG", pnginfo=note)
    return stream.getvalue()


def with_exif(form: str, *, comment: bytes = b"", model: str = "", description: str = "") -> bytes:
    exif = Image.Exif()
    if comment:
        exif.get_ifd(0x8769)[0x9286] = comment
    if model:
        exif[0x0110] = model
    if description:
        exif[0x010E] = description
    stream = io.BytesIO()
    IMAGE.save(stream, form, exif=exif.tobytes())
    return stream.getvalue()


def only(data: bytes) -> ForeignPrompt:
    [found] = prompts_in(data)
    return found


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("letters", ["", "Müller 画像 "])
def test_parameters_of_png(packed: bool, letters: str) -> None:
    found = only(png(packed, parameters=letters + A1111))
    assert (found.prompt, found.program[:13]) == (letters + SAID, "AUTOMATIC1111")


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "PNG"])
@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + A1111.encode("utf-16-be"),
        b"UNICODE\0" + A1111.encode("utf-16-le"),
        b"ASCII\0\0\0" + A1111.encode(),
        bytes(8) + A1111.encode(),
        A1111.encode(),
    ],
)
def test_the_comment_of_exif(form: str, comment: bytes) -> None:
    assert only(with_exif(form, comment=comment)).prompt == SAID


@pytest.mark.parametrize(
    ("graph", "said"), [(GRAPH, "a fox in snow"), (FLUX, "a heron")], ids=["sd", "flux"]
)
def test_a_graph_is_followed_to_the_positive_text(graph: dict[str, object], said: str) -> None:
    text = json.dumps(graph)
    wanted = ForeignPrompt("ComfyUI", said)
    assert only(png(prompt=text, workflow="{" * 10)) == wanted
    assert only(png(True, prompt=text.replace("null", "NaN"))) == wanted
    assert only(with_exif("WEBP", model=f"prompt:{text}")) == wanted
    assert only(with_exif("WEBP", description=f"Prompt: {text}")) == wanted
    packed = json.dumps({"prompt": graph, "workflow": {}}).encode()
    assert only(with_exif("JPEG", comment=b"ASCII\0\0\0" + packed)) == wanted


def test_several_prompts_of_a_graph_are_all_offered() -> None:
    second = {"class_type": "CLIPTextEncode", "inputs": {"text": "a wolf"}}
    sampler = {"class_type": "KSampler", "inputs": {"positive": ["11", 0]}}
    found = prompts_in(png(prompt=json.dumps(GRAPH | {"11": second, "12": sampler})))
    assert [one.prompt for one in found] == ["a fox in snow", "a wolf"]


@pytest.mark.parametrize(
    ("texts", "program", "prompt"),
    [
        ({"invokeai_metadata": '{"positive_prompt": "a hare"}'}, "InvokeAI", "a hare"),
        ({"sd_dash_metadata": '{"image": {"prompt": [{"prompt": "a hare", "weight": 1}]}}'},
         "InvokeAI", "a hare"),
        ({"sd_dash_metadata": '{"image": {"prompt": "a hare"}}'}, "InvokeAI", "a hare"),
        ({"Dream": '"a hare" -s 50 -S 1'}, "InvokeAI", "a hare"),
        ({"prompt": "a hare, {red|blue}"}, "Easy Diffusion", "a hare, {red|blue}"),
        ({"prompt": "{red|blue} hare"}, "Easy Diffusion", "{red|blue} hare"),
        ({"parameters": "{red|blue} hare\nSteps: 1"}, "AUTOMATIC1111 or a program like it",
         "{red|blue} hare"),
        ({"parameters": "[a|b] hare\nSteps: 1"}, "AUTOMATIC1111 or a program like it",
         "[a|b] hare"),
        ({"parameters": '{"sui_image_params": {"prompt": "a hare"}}'}, "SwarmUI", "a hare"),
        ({"parameters": '{"prompt": "a hare", "base_model": "x"}'}, "Fooocus", "a hare"),
        ({"Software": "NovelAI", "Description": "a hare"}, "NovelAI", "a hare"),
        ({"Description": "a hare --v 5 Job ID: 12"}, "Midjourney", "a hare"),
        ({"parameters": "tab\there\x07\x1b[31m\nSteps: 3"}, "AUTOMATIC1111 or a program like it",
         "tab here [31m"),
    ],
)  # fmt: skip
def test_other_programs(texts: dict[str, str], program: str, prompt: str) -> None:
    assert only(png(**texts)) == ForeignPrompt(program, prompt)


CIRCLE = {
    "1": {"class_type": "KSampler", "inputs": {"positive": ["2", 0]}},
    "2": {"class_type": "A", "inputs": {"conditioning": ["3", 0], "text": ["2", 0]}},
    "3": {
        "class_type": "B",
        "inputs": {"conditioning": ["2", 0], "x": ["9", 0], "y": [1], "z": 3},
    },
}


@pytest.mark.parametrize(
    "texts",
    [
        {},
        {"Title": "a holiday", "Description": "at the sea", "Software": "GIMP"},
        {"parameters": ""},
        {"parameters": "Negative prompt: ugly\nSteps: 1"},
        {"parameters": "iso 400, f/2.8"},
        {"prompt": "[" * 100_000},
        {"prompt": '{"a":' * 100_000},
        {"prompt": '{"1": {"class_type": 3, "inputs": []}}'},
        {"prompt": '{"1": {"class_type": "KSampler", "inputs": {"positive": {"a": [1]}}}}'},
        {"prompt": json.dumps(CIRCLE)},
        {"prompt": '{"broken'},
        {"parameters": "x" * (MOST_LETTERS + 1) + "\nSteps: 1"},
        {"invokeai_metadata": '{"positive_prompt": 3}'},
        {"sd_dash_metadata": '{"image": {"prompt": [[]]}}'},
        {"Dream": '"' + "\\" * 20_000},
        {"parameters": '{"extraMetadata": "{\\"extraMetadata\\": \\"{}\\"}"}'},
        {"prompt": "   "},
    ],
)
def test_what_is_no_prompt_offers_none(texts: dict[str, str]) -> None:
    assert prompts_in(png(**texts)) == ()


def test_bombs_and_damage_offer_none() -> None:
    body = b"zTXt" + b"parameters\0\0" + zlib.compress(bytes(2**26), 9)
    bomb = struct.pack(">I", len(body) - 4) + body + bytes(4)
    plain = png()
    assert prompts_in(plain[:33] + bomb + plain[33:]) == ()
    for data in (b"", b"\xff\xd8", b"\xff\xd8" + b"\xff\xe1\0\0" * 50_000, b"RIFF\0\0\0\0WEBP"):
        assert prompts_in(data) == ()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_damaged_bytes_never_raise(form: str) -> None:
    if form == "PNG":
        data = png(parameters=A1111, prompt=json.dumps(GRAPH))
    else:
        data = with_exif(form, comment=b"UNICODE\0" + A1111.encode("utf-16-be"))
    random = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(data[: random.integers(len(data) // 2, len(data) + 1)])
        for place in random.integers(0, len(broken), 6):
            broken[place] = random.integers(256)
        for found in prompts_in(bytes(broken)):
            assert found.prompt.isprintable() or found.prompt
