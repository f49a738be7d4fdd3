"""The content of a folder of models: the models, and what was left out with the reason.

Folders in diffusers' form, entries of the Hub's cache, single files and the checkpoints that
training left beside a model, in the folder itself and up to three levels below; links are
followed. No library is needed to look, only to read the headers of single files.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mmh_core.counting import plural
from mmh_core.records import MMHError
from mmh_core.text_to_image.model_names import INDEX, cached

_SINGLE = (".safetensors", ".sft")
_OTHERS = {
    ".ckpt": "pickle",
    ".pt": "pickle",
    ".pth": "pickle",
    ".bin": "pickle",
    ".gguf": "GGUF file",
    ".zip": "zip archive",
    ".7z": "7z archive",
    ".onnx": "ONNX file",
    ".part": "unfinished download",
    ".crdownload": "unfinished download",
    ".incomplete": "unfinished download",
    ".tmp": "unfinished download",
}
_STEPS = {
    "pickle": "it can run code when it is opened, so choose a safetensors version",
    "LoRA": "fuse it into its model",
    "autoencoder": "it is used as NAME.vae.safetensors beside NAME.safetensors",
    "link to nothing": "what it led to is gone",
    "tokenizer": "it is used by the single files beside it",
    "folder that cannot be read": "let this user read it",
}
_LEVELS = 3
_MOST = 2000
_SHOWN = 4


@dataclass(frozen=True)
class SkippedEntry:
    """An entry of the folder that is no model: its name, and what it is as a noun."""

    name: str
    noun: str


@dataclass
class ModelListing:
    """The content of a folder of models: models by name, entries left out, other files.

    `models` maps names to sources for `stable_diffusion.load`; `others` counts files that are no
    models, such as previews and notes; `unseen` is whether there was more than was looked at.
    """

    models: dict[str, str] = field(default_factory=dict)
    left_out: list[SkippedEntry] = field(default_factory=list)
    others: int = 0
    unseen: bool = False

    def sentence(self, root: Path) -> str:
        """Return what was left out with the reasons, "" where nothing was."""
        parts = []
        for noun, count in Counter(entry.noun for entry in self.left_out).items():
            names = [entry.name for entry in self.left_out if entry.noun == noun]
            listed = ", ".join(names[:_SHOWN]) + (", ..." if count > _SHOWN else "")
            step = f"; {_STEPS[noun]}" if noun in _STEPS else ""
            parts.append(f"{plural(count, noun, _plural(noun))} ({listed}{step})")
        if self.others:
            parts.append(plural(self.others, "other file"))
        if self.unseen:
            parts.append(f"whatever comes after the first {_MOST:,} entries")
        if not parts and self.models:
            return ""
        if not self.models:
            contents = f": {'; '.join(parts)}" if parts else ", it is empty"
            return f"No model was found in {root}{contents}."
        return f"Left out of {root}: {'; '.join(parts)}."


def _plural(noun: str) -> str:
    """Return the plural of a noun that may have words behind it."""
    first, of, rest = noun.partition(" of ")
    first, without, tail = first.partition(" with")
    first, to, target = first.partition(" to ")
    first, that, clause = first.partition(" that ")
    last = first.split(maxsplit=1)[0] if without else first
    many = f"{first[:-1]}ies" if last.endswith("y") else f"{first}s"
    return many + that + clause + to + target + without + tail + of + rest


def list_models(root: Path) -> ModelListing:
    """Return what lies in a folder of models, by names and by the headers of single files."""
    listing = ModelListing()
    for path, noun in _candidates(root):
        name = path.relative_to(root).as_posix()
        if noun == "folder":
            snapshot = _snapshot(path)
            if snapshot is None:
                listing.left_out.append(
                    SkippedEntry(name, "cache entry with several snapshots or none")
                )
                continue
            listing.models[name] = str(snapshot)
            listing.models |= _trained(name, path)
        elif noun == "file":
            noun_of_file = _kind_of(path)
            if noun_of_file:
                listing.left_out.append(SkippedEntry(name, noun_of_file))
            else:
                listing.models[name] = str(path)
        elif noun == "":
            listing.others += 1
        elif noun == "more":
            listing.unseen = True
        else:
            listing.left_out.append(SkippedEntry(name, noun))
    return listing


def stamps(root: Path) -> tuple[tuple[str, int, int], ...]:
    """Return what changes when the folder does: each entry's name, size and time."""
    entries = []
    for path, noun in _candidates(root):
        inner = [path / INDEX, *sorted(path.glob("*/*.safetensors"))] if noun == "folder" else []
        for entry in (path, *inner):
            try:
                about = entry.stat()
            except OSError:
                continue
            entries.append((str(entry), about.st_size, about.st_mtime_ns))
    return tuple(entries)


def holds_models(root: Path) -> bool:
    """Return whether a folder holds anything that may be a model, by names alone."""
    return any(noun in ("folder", "file") for _, noun in _candidates(root))


def _candidates(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield entries with "folder" or "file" for what may be a model, else a noun or ""."""
    seen = {root.resolve()}
    for count, path in enumerate(_below(root, 0, seen)):
        if count >= _MOST:
            yield root, "more"
            return
        yield path


def _below(folder: Path, level: int, seen: set[Path]) -> Iterator[tuple[Path, str]]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        yield folder, "folder that cannot be read"
        return
    for path in entries:
        if path.name.startswith("."):
            continue
        try:
            if path.is_dir():
                yield from _in_folder(path, level, seen)
            elif path.is_file():
                yield path, _noun_of(path)
            else:
                yield path, "link to nothing"
        except OSError:
            yield path, "folder that cannot be read"


def _in_folder(path: Path, level: int, seen: set[Path]) -> Iterator[tuple[Path, str]]:
    real = path.resolve()
    if real in seen:
        yield path, "link to a folder that is listed already"
        return
    seen.add(real)
    if (path / INDEX).is_file() or path.name.startswith("models--"):
        yield path, "folder"
        return
    inner = list(_below(path, level + 1, seen)) if level + 1 < _LEVELS else []
    # A folder of notes, a tokenizer or the like counts once, and its files do not.
    if any(noun for _, noun in inner):
        yield from inner
    elif (path / "vocab.json").is_file() or (path / "tokenizer.json").is_file():
        yield path, "tokenizer"
    else:
        yield path, "folder without a model"


def _noun_of(path: Path) -> str:
    suffix = path.suffix.lower()
    return "file" if suffix in _SINGLE else _OTHERS.get(suffix, "")


def _kind_of(path: Path) -> str:
    """Return the noun for a file that is no checkpoint, "" for one, whole or damaged."""
    from mmh_core.text_to_image.single_file import parted
    from mmh_core.text_to_image.tensor_names import without_wrappers
    from mmh_core.text_to_image.weight_file_kinds import identify, identify_bytes
    from mmh_core.text_to_image.weights import check_safetensors, tensor_shapes

    try:
        kind = identify_bytes(path)
        if kind is not None:
            return kind.noun
        check_safetensors(path)
        shapes = without_wrappers(tensor_shapes(path))
    except (MMHError, OSError):
        return ""
    kind, parts = identify(shapes), parted(shapes)
    return "" if kind is None or (parts.unet and parts.text) else kind.noun


def _snapshot(folder: Path) -> Path | None:
    """Return the folder itself, or the snapshot of an entry of the Hub's cache, None if open."""
    if (folder / INDEX).is_file():
        return folder
    try:
        snapshot = cached(folder.resolve())
    except MMHError:
        return None
    return None if snapshot is None else snapshot[0]


def _trained(name: str, folder: Path) -> dict[str, str]:
    """Return the checkpoints that training left beside a model, each to be used with it."""
    checkpoints = {}
    for step in sorted(folder.glob("checkpoint-*"), key=_number):
        for network in ("unet", "unet_ema"):
            if (step / network).is_dir() and any((step / network).glob("*.safetensors")):
                checkpoints[f"{name}/{step.name}/{network}"] = f"{folder}::unet={step / network}"
    return checkpoints


def _number(path: Path) -> int:
    match = re.search(r"\d+$", path.name)
    return int(match[0]) if match else 0
