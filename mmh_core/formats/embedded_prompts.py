"""Find the prompt that another program wrote into an image file.

Read as foreign text: bounded, never run, and never taken for settings of ours. Known are
AUTOMATIC1111 and those that write as it does (PNG `parameters`, EXIF `UserComment`), ComfyUI (PNG
and EXIF `prompt`, the graph of its nodes), InvokeAI, SwarmUI, Fooocus, NovelAI, Easy Diffusion,
Draw Things and Midjourney.
"""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmh_core.formats.png_chunks import png_chunks
from mmh_core.formats.untrusted import parse_json

#: Letters of a prompt, and prompts of one image.
MOST_LETTERS = 20_000
MOST_PROMPTS = 3
_A1111, _COMFY, _INVOKE = "AUTOMATIC1111 or a program like it", "ComfyUI", "InvokeAI"
_TEXT_INPUTS = (
    "text", "text_g", "text_l", "t5xxl", "clip_l", "prompt", "positive_prompt", "string", "value",
    "populated_text", "wildcard_text",
)  # fmt: skip
#: Inputs of nodes that lead away from the prompt.
_OTHER_INPUTS = frozenset(
    (
        "negative", "clip", "model", "vae", "samples", "latent", "latent_image", "image", "pixels",
        "mask", "control_net", "noise", "sampler", "sigmas", "style_model", "clip_vision",
        "clip_vision_output",
    )
)  # fmt: skip


@dataclass(frozen=True)
class ForeignPrompt:
    """A prompt in an image file, on one line, and the program that wrote it."""

    program: str
    prompt: str


def prompts_in(data: bytes) -> tuple[ForeignPrompt, ...]:
    """Return the prompts that other programs wrote into the bytes of a PNG, JPEG or WebP file.

    Several where a graph of ComfyUI has several; none for a file that carries none, and for what
    is damaged or longer than MOST_LETTERS. The pixels are not looked at.
    """
    prompts: dict[str, ForeignPrompt] = {}
    for program, text in _prompts(data):
        prompt = _line(text)
        if 0 < len(prompt) <= MOST_LETTERS and len(prompts) < MOST_PROMPTS:
            prompts.setdefault(prompt, ForeignPrompt(program, prompt))
    return tuple(prompts.values())


def _prompts(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield the program and the prompt of every text that is known, the best known first."""
    texts = dict(png_texts(data))
    if "parameters" in texts:
        yield from _of_text(texts["parameters"])
    if "prompt" in texts:
        graph = _json(texts["prompt"])
        if isinstance(graph, Mapping):
            yield from ((_COMFY, text) for text in _of_graph(graph))
        elif not re.match(r'\s*\{\s*"', texts["prompt"]):
            yield "Easy Diffusion", texts["prompt"]
    yield from ((_INVOKE, text) for text in _of_invoke(texts))
    if texts.get("Software") == "NovelAI":
        yield "NovelAI", texts.get("Description", "")
    elif "Job ID:" in texts.get("Description", ""):
        yield "Midjourney", re.split(r"\s(?:--\w|Job ID:)", texts["Description"])[0]
    for text in exif_texts(data):
        yield from _of_text(text)


def _of_text(text: str) -> Iterator[tuple[str, str]]:
    """Yield the prompts of `parameters` or of EXIF: text as AUTOMATIC1111 writes it, or JSON."""
    graph = re.match(r"\s*prompt\s*:\s*(?=\{)", text, re.IGNORECASE)
    tree = _json(text[graph.end() :] if graph else text)
    if isinstance(tree, Mapping):
        yield from ((_COMFY, prompt) for prompt in _of_graph(tree))
        yield from _of_object(tree)
    else:
        settings = re.search(r"^\s*(Negative prompt:|Steps: \d)", text, re.MULTILINE)
        # Any description may stand in EXIF: the settings tell that this is a prompt.
        if settings is not None:
            yield _A1111, text[: settings.start()]


def _of_object(tree: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, str]]:
    prompt = tree.get("prompt")
    if isinstance(prompt, Mapping):
        yield from ((_COMFY, text) for text in _of_graph(prompt))
    if isinstance(prompt, str):
        yield ("Fooocus" if "base_model" in tree else "another program"), prompt
    swarm = tree.get("sui_image_params")
    if isinstance(swarm, Mapping) and isinstance(swarm.get("prompt"), str):
        yield "SwarmUI", swarm["prompt"]
    if isinstance(tree.get("c"), str) and "uc" in tree:
        yield "Draw Things", tree["c"]
    inner = tree.get("extraMetadata")
    if isinstance(inner, str) and depth == 0:
        further = _json(inner)
        if isinstance(further, Mapping):
            yield from _of_object(further, depth + 1)


def _of_invoke(texts: Mapping[str, str]) -> Iterator[str]:
    """Yield the prompts in the three forms that InvokeAI has had."""
    tree = _json(texts.get("invokeai_metadata", ""))
    if isinstance(tree, Mapping) and isinstance(tree.get("positive_prompt"), str):
        yield tree["positive_prompt"]
    older = _json(texts.get("sd-metadata", ""))
    image = older.get("image") if isinstance(older, Mapping) else None
    prompt = image.get("prompt") if isinstance(image, Mapping) else None
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], Mapping):
        prompt = prompt[0].get("prompt")
    if isinstance(prompt, str):
        yield prompt
    if match := re.match(r'\s*"((?:[^"\\]|\\.)*)"', texts.get("Dream", "")):
        yield match.group(1)


def _of_graph(nodes: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts that lead to the positive input of a sampler in a graph of ComfyUI."""
    whole = {
        str(name): node["inputs"]
        for name, node in nodes.items()
        if isinstance(node, Mapping)
        and isinstance(node.get("inputs"), Mapping)
        and isinstance(node.get("class_type"), str)
    }
    guiders = {name for name in whole if "Guider" in nodes[name]["class_type"]}
    # 10 comes after 9; names of nodes in groups, such as 4:2, come last.
    for name in sorted(whole, key=lambda number: (not number.isdigit(), len(number), number)):
        start = whole[name].get("positive")
        if start is None and name in guiders:
            start = whole[name].get("conditioning")
        text = _text_behind(whole, start)
        if text:
            yield text


def _text_behind(nodes: Mapping[str, Mapping[str, Any]], start: object) -> str:
    """Return the first text that is found following the links of nodes, "" for none."""
    waiting, seen = [start], set[str]()
    while waiting:
        link = waiting.pop()
        if not (isinstance(link, list) and len(link) == 2) or str(link[0]) in seen:
            continue
        seen.add(str(link[0]))
        inputs = nodes.get(str(link[0]), {})
        for name in _TEXT_INPUTS:
            if isinstance(inputs.get(name), str) and inputs[name].strip():
                return str(inputs[name])
        others = [value for name, value in inputs.items() if name not in _OTHER_INPUTS]
        texts = [inputs[name] for name in _TEXT_INPUTS if name in inputs]
        waiting += [*reversed(others), *reversed(texts)]
    return ""


def _json(text: str) -> Any:
    """Return the value of a JSON text, None for what is no JSON."""
    try:
        return parse_json(text, python=True) if text.lstrip()[:1] == "{" else None
    except ValueError:
        return None


def _line(text: str) -> str:
    """Return a text on one line, without what no page can show."""
    kept = "".join(
        letter if unicodedata.category(letter) not in ("Cc", "Cs") else " " for letter in text
    )
    return " ".join(kept.split())


#: Bytes of one text, unpacked; graphs of hundreds of nodes have some hundred thousand.
MOST_TEXT = 2**22
_DESCRIPTION, _MAKE, _MODEL, _EXIF_PART, _COMMENT = 0x010E, 0x010F, 0x0110, 0x8769, 0x9286


def png_texts(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield keywords and texts of a PNG (ISO/IEC 15948, 11.3.3), checksums not compared."""
    for chunk in png_chunks(data):
        text_chunk = chunk.type in (b"tEXt", b"zTXt", b"iTXt")
        if not text_chunk or chunk.length > MOST_TEXT or not chunk.complete:
            continue
        keyword, _, rest = data[chunk.start : chunk.start + chunk.length].partition(b"\0")
        text = _text_of(chunk.type, rest)
        if text is not None:
            yield keyword.decode("latin-1"), text


def _text_of(chunk_type: bytes, rest: bytes) -> str | None:
    """Return the text behind the keyword of a chunk, None where it is damaged or too long."""
    packed = chunk_type == b"zTXt"
    if packed:
        rest = rest[1:]
    elif chunk_type == b"iTXt":
        packed = rest[:1] != b"\0"
        parts = rest[2:].split(b"\0", 2)
        rest = parts[-1] if len(parts) == 3 else b""
    if packed:
        unpacker = zlib.decompressobj()
        try:
            rest = unpacker.decompress(rest, MOST_TEXT)
        except zlib.error:
            return None
        if unpacker.unconsumed_tail:
            return None
    try:
        # Many programs write UTF-8 where Latin-1 is meant.
        return rest.decode("utf-8")
    except UnicodeDecodeError:
        return rest.decode("latin-1")


def exif_texts(data: bytes) -> list[str]:
    """Return the texts in the EXIF of a JPEG, WebP or PNG that programs write prompts to."""
    from PIL import Image

    fields: list[object] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=("JPEG", "WEBP", "PNG")) as image:
                # Not `getexif`, which decodes the pixels of a PNG.
                directory = Image.Exif()
                directory.load(image.info.get("exif", b""))
                fields.append(directory.get_ifd(_EXIF_PART).get(_COMMENT))
                fields += [directory.get(tag) for tag in (_MODEL, _MAKE, _DESCRIPTION)]
    # On damaged bytes Pillow raises almost anything; there is then no prompt to offer.
    except Exception:
        return []
    return [text for value in fields if (text := _field_text(value)) and len(text) <= MOST_TEXT]


def _field_text(value: object) -> str:
    """Return the text of a field of EXIF; of `UserComment` the first 8 bytes name its code."""
    if isinstance(value, str):
        return value
    if not isinstance(value, bytes):
        return ""
    code, rest = value[:8], value[8:]
    if code.startswith(b"UNICODE"):
        # The order of bytes is not said: of letters up to U+00FF the first or second is 0.
        big = rest[::2].count(0) >= rest[1::2].count(0)
        return rest.decode("utf-16-be" if big else "utf-16-le", "replace")
    has_code = code in (b"ASCII\0\0\0", bytes(8))
    return (rest if has_code else value).decode("utf-8", "replace")
