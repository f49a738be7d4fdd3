"""The files that hold one network's weights: whole, in shards, or a half-precision variant.

`STEM.safetensors`, `STEM-00001-of-00002.safetensors` with or without
`STEM.safetensors.index.json`, and the same with a variant between: `STEM.fp16.safetensors`,
`STEM.fp16-00001-of-00002.safetensors`, `STEM.safetensors.index.fp16.json`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from mmh_core.records import MMHError
from mmh_core.text_to_image.weight_file_kinds import PICKLE
from mmh_core.text_to_image.weights import (
    check_safetensors,
    read_json,
    read_tensors,
    tensor_shapes,
)

T = TypeVar("T")
# Half precision before what the name says nothing about.
_VARIANTS = ("fp16", "bf16", "fp32")


@dataclass(frozen=True)
class WeightFiles:
    """The files of one network, all in one folder; `note` says what was chosen, "" without choice.

    `of_tensor` names the file of each tensor where an index says so.
    """

    files: tuple[Path, ...]
    note: str = ""
    of_tensor: Mapping[str, str] | None = None

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor from the headers. Errors: MMHError."""
        shapes_by_name: dict[str, tuple[int, ...]] = {}
        for path in self.files:
            check_safetensors(path)
            shapes_by_name |= self._listed(path, tensor_shapes(path))
        return shapes_by_name

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors, mapped from their files. Errors: MMHError."""
        tensors_by_name: dict[str, Tensor] = {}
        for path in self.files:
            tensors_by_name |= self._listed(path, read_tensors(path))
        return tensors_by_name

    def _listed(self, path: Path, tensors: Mapping[str, T]) -> dict[str, T]:
        listed = self.of_tensor
        return {
            name: x
            for name, x in tensors.items()
            if listed is None or listed.get(name, path.name) == path.name
        }


def chosen_names(names: Iterable[str], stem: str) -> tuple[tuple[str, ...], str]:
    """Return which of the names in a folder make up a network, and its index file's name or "".

    A whole file before shards, full precision before half; a single variant of any other name is
    taken too. Empty where there is none.
    """
    names = set(names)
    here = re.compile(re.escape(stem) + r"(?:\.([\w-]+?))?(?:-(\d{5})-of-(\d{5}))?\.safetensors")
    variants: dict[str, dict[str, list[str]]] = {}
    for name in sorted(names):
        match = here.fullmatch(name)
        if match is not None:
            layouts = variants.setdefault(match[1] or "", {})
            layouts.setdefault(match[3] or "", []).append(name)
    for variant in variants:
        if f"{stem}.safetensors.index{'.' + variant if variant else ''}.json" in names:
            variants[variant].setdefault("index", [])
    order = [variant for variant in ("", *_VARIANTS) if variant in variants]
    others = [variant for variant in variants if variant not in order]
    if not order and len(others) == 1:
        order = others
    if not order:
        return (), ""
    layouts = variants[order[0]]
    if "" in layouts:
        return (layouts[""][0],), ""
    suffix = "." + order[0] if order[0] else ""
    index = f"{stem}.safetensors.index{suffix}.json"
    shards = [name for count in sorted(layouts) if count != "index" for name in layouts[count]]
    return tuple(shards), index if index in names else ""


def find_weights(folder: Path, stem: str) -> WeightFiles:
    """Return the files of a network in a folder.

    Raises MMHError where there are none, where a shard is missing, and where an index names what
    is not in the folder; a pickle in the place of the weights is named.
    """
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    chosen, index = chosen_names(names, stem)
    indexes = [name for name in names if name.startswith(f"{stem}.safetensors.index")]
    if not chosen and indexes:
        chosen, index = (), indexes[0]
    if index:
        return _indexed(folder, index)
    if not chosen:
        raise _none(folder, stem, names)
    if len(chosen) > 1 or "-of-" in chosen[0]:
        _check_count(folder, chosen)
    variant = chosen[0][len(stem) :].removesuffix(".safetensors").split("-of-")[0]
    plain = variant == "" or re.fullmatch(r"-\d{5}", variant)
    note = "" if plain else f"Weights of {folder.name} are from {chosen[0]}."
    return WeightFiles(tuple(folder / name for name in chosen), note)


def _indexed(folder: Path, index: str) -> WeightFiles:
    """Return the shards that an index file names; only files of its own folder."""
    listed = read_json(folder / index).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise MMHError(
            f"{folder / index} does not say which file holds which tensor: restore it from where "
            "the model came from, or delete it when all shards are there."
        )
    for name in listed.values():
        if not isinstance(name, str) or not re.fullmatch(r"[\w][\w .+-]*", name):
            raise MMHError(
                f"{folder / index} names {str(name)[:80]!r}, which is no file of its folder: "
                "restore it from where the model came from."
            )
        if not name.endswith(".safetensors"):
            raise MMHError(
                f"{folder / index} names {name[:80]}, which is no safetensors file: {PICKLE.step}."
            )
    names = sorted(set(listed.values()))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise MMHError(
            f"{len(missing)} of the {len(names)} files that {folder / index} names are missing "
            f"({', '.join(missing[:3])}): copy or download these."
        )
    return WeightFiles(tuple(folder / name for name in names), of_tensor=listed)


def _check_count(folder: Path, shards: tuple[str, ...]) -> None:
    """Refuse shards of which some are missing, or that belong to two ways of cutting."""
    counts = {name.rsplit("-of-")[1][:5] for name in shards}
    if len(counts) > 1:
        raise MMHError(
            f"{folder} holds shards of two versions ({shards[0]}, {shards[-1]}): keep the files "
            "of one."
        )
    total = int(counts.pop())
    present = {int(name.rsplit("-of-")[0][-5:]) for name in shards}
    missing = sorted(set(range(1, min(total, 9999) + 1)) - present)
    if missing:
        pattern = shards[0].rsplit("-of-")
        first = f"{pattern[0][:-5]}{missing[0]:05d}-of-{pattern[1]}"
        raise MMHError(
            f"{len(missing)} of the {total} shards in {folder} are missing ({first} is the first):"
            " copy or download these."
        )


def _none(folder: Path, stem: str, names: list[str]) -> MMHError:
    pickles = [name for name in names if re.match(r".*\.(bin|ckpt|pt|pth|msgpack|h5)$", name)]
    lora = [name for name in names if re.search(r"lora|^adapter_(model|config)", name)]
    others = [name for name in names if name.endswith((".safetensors", ".gguf", ".onnx"))]
    dangling = [name for name in names if not (folder / name).exists()]
    if lora:
        return MMHError(
            f"{folder} holds a LoRA ({lora[0]}) and not the weights of a whole network: fuse it "
            "into its model with fuse_lora() and save that with save_pretrained()."
        )
    if dangling:
        return MMHError(
            f"{folder / dangling[0]} is a link to a file that is not there, so a download stopped "
            "or the cache was cleaned: download this model again."
        )
    if pickles:
        return MMHError(
            f"{folder} holds its weights as a pickle ({pickles[0]}), which can run code when "
            "it is opened: choose a safetensors version of the model."
        )
    if others:
        return MMHError(
            f"{folder / (stem + '.safetensors')} is missing, and there are {', '.join(others[:4])}"
            f": name one of them {stem}.safetensors."
        )
    return MMHError(
        f"{folder / (stem + '.safetensors')} is missing: copy or download this file too, or "
        "choose another model."
    )
