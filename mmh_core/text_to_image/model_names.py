"""Names of models, and the folders and files that they stand for.

A model is named by the catalogue, a folder, a single file, an entry of the Hub's cache, or
`hub:owner/name`. A plain `owner/name` is taken for a path, or for what an earlier download left
on this disk: a mistyped path is never asked of the Hub. `MODEL::unet=FOLDER` and `::vae=FILE`
name a part that stands in place of the model's own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mmh_core.records import MMHError
from mmh_core.text_to_image.catalogue import CATALOGUE
from mmh_core.text_to_image.hub import is_hub_name
from mmh_core.text_to_image.weights import read_json

INDEX = "model_index.json"
HUB = "hub:"
#: A page of the Hub: owner/name, and the file where it is one's.
_ADDRESS = re.compile(
    r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co|hf-mirror\.com)/"
    r"([\w][\w.-]*/[\w][\w.-]*?)(?:\.git)?"
    r"(?:/(?:blob|resolve)/[^/]+/([^?#]+)(?:[?#].*)?|[/?#].*)?$",
    re.ASCII | re.IGNORECASE,
)
_SHOWN = 5
_MOST_ENTRIES = 2000


@dataclass(frozen=True)
class ModelName:
    """The parts of a model's name: `unet` and `vae` replace the model's own, "" for none."""

    base: str
    unet: str = ""
    vae: str = ""

    def __str__(self) -> str:
        """Return the name that `parse_model_name` takes apart."""
        parts = (f"::{name}={x}" for name, x in (("unet", self.unet), ("vae", self.vae)) if x)
        return self.base + "".join(parts)


def parse_model_name(name: str) -> ModelName:
    """Return the parts of a model's name. Errors: MMHError."""
    base, *rest = name.split("::")
    options: dict[str, str] = {}
    for part in rest:
        key, equals, value = part.partition("=")
        if key not in ("unet", "vae") or not equals or not value or key in options:
            raise MMHError(
                f"{name[:200]!r} names a part in no known way: write MODEL::unet=FOLDER or "
                "MODEL::vae=FILE."
            )
        options[key] = value
    return ModelName(base, options.get("unet", ""), options.get("vae", ""))


def cached(path: Path) -> tuple[Path, str] | None:
    """Return the snapshot of an entry of the Hub's cache and its name, None for other folders.

    The entry is named by itself (`models--owner--name`), its `snapshots`, or one of these. Of the
    entry it is what refs/main names, or the only one. Errors: MMHError where that is open.
    """
    for entry in (path, path.parent, path.parent.parent):
        match = re.fullmatch(r"models--(.+)", entry.name)
        if match is None or not (entry / "snapshots").is_dir():
            continue
        name = match[1].replace("--", "/", 1)
        if entry == path.parent.parent and path.parent.name == "snapshots":
            return path, name
        if entry == path or path == entry / "snapshots":
            return _snapshot(entry), name
    return None


def _snapshot(entry: Path) -> Path:
    snapshots = sorted(path for path in (entry / "snapshots").iterdir() if path.is_dir())
    main = entry / "refs" / "main"
    if main.is_file():
        commit = main.read_text(encoding="utf-8", errors="replace").strip()
        current = [path for path in snapshots if path.name == commit]
        if current:
            return current[0]
    if len(snapshots) == 1:
        return snapshots[0]
    if not snapshots:
        raise MMHError(f"{entry} holds no snapshot: download the model again with `hf download`.")
    names = ", ".join(str(path) for path in snapshots[:_SHOWN])
    raise MMHError(f"{entry} holds {len(snapshots)} snapshots: name one of {names}.")


def existing(named: str) -> Path:
    """Return the path that a name stands for, there or not. Errors: MMHError where none can be."""
    try:
        path = Path(named).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise MMHError(
            f"{named[:60]!r} does not exist: give a folder, a safetensors file, one of "
            f"{', '.join(CATALOGUE)}, or {HUB}owner/model."
        ) from error
    return path


def missing(source: str) -> MMHError:
    """Return the error for a name that is neither a model on this disk nor one of the Hub's."""
    path = Path(source)
    if path.is_symlink():
        return MMHError(
            f"{path} is a link to {path.readlink()}, which is not there: restore that, or name "
            "the model itself."
        )
    hub = source if is_hub_name(source) else "owner/model"
    near = _near(path)
    like = f" Beside it there is {' and '.join(near)}." if near else ""
    note = "" if path.is_absolute() else f" The folder looked in is {Path.cwd()}."
    return MMHError(
        f"{path} does not exist: give a folder, a safetensors file, one of "
        f"{', '.join(CATALOGUE)}, or {HUB}{hub} to download a model from the Hub.{like}{note}"
    )


def home(model: str) -> Path:
    """Return where a model lies or would lie, in which its calibrations lie as well."""
    base = model.split("::")[0]
    entry = CATALOGUE.get(base)
    path = Path(base if entry is None else entry.source).expanduser()
    return path.parent if path.name == INDEX else path


def check_name(source: str) -> None:
    """Refuse what is no name of a model at all: nothing, and an address. Errors: MMHError."""
    if not source.strip():
        raise MMHError(
            f"The model has no name: give a folder, a safetensors file, one of "
            f"{', '.join(CATALOGUE)}, or {HUB}owner/model."
        )
    address = source.strip().removeprefix(HUB)
    match = _ADDRESS.match(address)
    if match is None:
        if re.match(r"[a-z][a-z0-9+.-]*://", address, re.IGNORECASE):
            raise MMHError(
                f"{address[:200]!r} is an address and no model on this disk: download its "
                f"safetensors file and name that, or write {HUB}owner/model for one of the Hub."
            )
        return
    name, file = match[1], match[2]
    if file:
        raise MMHError(
            f"{address[:200]!r} is the address of one file on the Hub: download it with "
            f"`hf download {name} {file}` and name the file, or write {HUB}{name} for the model."
        )
    raise MMHError(
        f"{address[:200]!r} is the address of a page: write {HUB}{name} for the model on the Hub."
    )


def _near(path: Path) -> list[str]:
    import difflib

    try:
        names = [other.name for other in path.parent.iterdir()] if path.parent.name else []
    except OSError:
        return []
    return difflib.get_close_matches(path.name, names[:_MOST_ENTRIES], n=2, cutoff=0.75)


def not_a_model(folder: Path) -> MMHError:
    """Return the error for a folder without an index: what it is, and what can be named."""
    names = {path.name for path in sorted(folder.iterdir())[:_MOST_ENTRIES]}
    problem, step = _training(folder, names) or _part(folder, names) or _collection(folder, names)
    return MMHError(f"{folder} holds no whole model ({INDEX} is missing): {problem}. {step}.")


def _training(folder: Path, names: set[str]) -> tuple[str, str] | None:
    """Return what a folder that training left is, and the next step; None for others."""
    if any("lora" in name or name.startswith("adapter_") for name in names):
        return (
            "it is a LoRA, a change to another model",
            "Fuse it into its model with fuse_lora() and save that with save_pretrained()",
        )
    networks = sorted(name for name in names if re.fullmatch(r"unet(_?ema)?|ema_unet", name))
    if {"vae", "text_encoder", "unet"} <= names:
        return (
            "all its parts are there",
            f"Copy {INDEX} from the model that was trained, it fits any of the same kind",
        )
    if networks:
        also = " and ".join(networks)
        return (
            f"it is a part of a pipeline, as training leaves it ({also})",
            f"Name the model that was trained too: --base MODEL --unet {folder / networks[0]}",
        )
    steps = [name for name in names if re.fullmatch(r"checkpoint-\d{1,18}", name)]
    steps.sort(key=lambda name: int(name.removeprefix("checkpoint-")))
    if steps:
        return (
            f"it holds the checkpoints of a training ({', '.join(steps[:_SHOWN])})",
            f"Name the model that was trained and one of them: --base MODEL --unet "
            f"{folder / steps[-1]}",
        )
    return None


_CLASSES = {
    "AutoencoderKL": "its autoencoder: name the model and this, --model MODEL --vae {folder}",
    "UNet2DConditionModel": "its denoising network: name the model that it belongs to too, "
    "--base MODEL --unet {folder}",
}


def _part(folder: Path, names: set[str]) -> tuple[str, str] | None:
    """Return which part of a pipeline a folder holds, and the next step; None for none."""
    whole = folder.parent / INDEX
    step = f"Name the whole model: {folder.parent}" if whole.exists() else "Name the whole model"
    if "config.json" in names:
        config = read_json(folder / "config.json")
        kind = config.get("_class_name") or next(iter(_texts(config.get("architectures"))), "")
        if isinstance(kind, str) and kind in _CLASSES:
            problem, _, how = _CLASSES[kind].format(folder=folder).partition(": ")
            if whole.exists():
                how = f"name the whole model, {folder.parent}, or {how.removeprefix('name ')}"
            return f"it is a part of a pipeline, {problem}", how[:1].upper() + how[1:]
        if kind:
            return f"it is a part of a pipeline, its {str(kind)[:60]}", step
        return "it is a part of a model", step
    if "scheduler_config.json" in names:
        return "it is a part of a pipeline, its scheduler", step
    if names & {"vocab.json", "tokenizer.json", "tokenizer_config.json"}:
        return "it is a part of a pipeline, its tokenizer", step
    return None


def _texts(value: object) -> list[str]:
    return [x for x in value if isinstance(x, str)] if isinstance(value, list) else []


def _collection(folder: Path, names: set[str]) -> tuple[str, str]:
    """Return what a folder of models holds, and the next step."""
    from mmh_core.text_to_image.model_folder import list_models

    if not names:
        return "it is empty", "Choose a folder that holds a model"
    listing = list_models(folder)
    models = list(listing.models)
    pickles = [entry.name for entry in listing.left_out if entry.noun == "pickle"]
    if models:
        more = f" and {len(models) - _SHOWN} more" if len(models) > _SHOWN else ""
        return (
            f"it is a folder with {', '.join(models[:_SHOWN])}{more}",
            f"Name one of them, such as {folder / models[0]}",
        )
    if pickles:
        return (
            f"it holds pickles ({pickles[0]}), which can run code when they are opened",
            "Choose a safetensors version of the model",
        )
    names_listed = ", ".join(sorted(names)[:_SHOWN])
    return f"it holds {names_listed}", f"Choose a folder with {INDEX}, or a safetensors file"
