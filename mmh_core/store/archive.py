"""Keep any frozen record of tensors on disk as one safetensors file, and read it back.

A record is a dataclass whose fields are tensors, numbers, strings, booleans, None, tuples and
other such records. Tensors become entries of the file, named by their path in the record; the rest
is a JSON tree in the header, together with a SHA-256 digest of everything, so that a file that was
cut, edited or mixed up is refused instead of shown. Equal records make equal bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from mmh_core.files import write_bytes
from mmh_core.formats.untrusted import error_text, parse_json, typed_value
from mmh_core.records import MMHError

Record = TypeVar("Record")

FORMAT = "mmh-record-1"
#: Earlier names of record classes, under which older files hold them -> the names of today.
_RENAMED = {
    "CauseRow": "CauseResults",
    "CopyFound": "ImageCopyEvidence",
    "LidScale": "LidNoiseScale",
    "NeighborFound": "TrainingNeighbor",
    "ReferenceLids": "ReferenceMeasurements",
}
#: Earlier names of fields by record, under which older files hold them -> the names of today.
_RENAMED_FIELDS = {
    "BenchmarkRun": {"text": "text_baselines", "true_lid": "data_lid"},
    "Calibration": {"lid_scale": "lid_noise_scale"},
    "CauseResults": {"said": "predicted", "data_lid": "data_lid_estimate"},
    "CaptionRecord": {
        "moved": "similarity_to_unmitigated",
        "agreement": "seed_similarity",
    },
    "Cell": {
        "agreement": "seed_similarity",
        "changed": "explanation",
        "moved": "similarity_to_unmitigated",
    },
    "DetectorRow": {
        "reference": "citation",
        "generation": "generation_nfe",
        "normal": "reference_scores",
    },
    "ImageLid": {
        "draws": "probes",
        "unconditional_draws": "unconditional_probes",
        "normals": "reference_images",
        "level": "threshold",
        "highest": "highest_reference",
    },
    "DoseLevel": {"copies": "multiplicity"},
    "ImageCopyEvidence": {"copies": "multiplicity"},
    "ImageCalibration": {"lid_scale": "lid_noise_scale"},
    "ImageMap": {"copies": "multiplicity"},
    "ImageRun": {"agreement": "seed_similarity", "normal": "reference"},
    "LabelledPrompt": {"copies": "multiplicity", "aside": "exclusion"},
    "LidNoiseScale": {"normal_lid": "reference_lid"},
    "NetworkRow": {"true": "tpr", "false": "fpr", "spread": "deviation"},
    "PointEstimates": {"true_lid": "data_lid"},
    "PromptScan": {
        "share": "fpr",
        "found": "flagged_memorized",
        "among": "memorized",
        "paraphrases_found": "flagged_paraphrases",
    },
    "PromptTruth": {"copies": "multiplicity"},
    "TrainingNeighbor": {"copies": "multiplicity"},
    "Snapshot": {"fit_yardstick": "fit_baseline"},
    "TokenRun": {"found": "attributions"},
    "TrainingMitigationConfig": {"looks": "snapshot_steps"},
}
#: Earlier labels that older files hold -> the labels of today.
_RENAMED_LABELS = {"Seed agreement": "Seed-to-seed similarity"}
#: Fields that older files hold and that no record has any more.
_DROPPED = {"CauseCalibration": {"threshold"}}
_REMEDY = "Run the study again, or remove the file."


def save_record(path: Path, record: object) -> None:
    """Write a frozen record to `path`, whole or not at all.

    Errors: TypeError for what is no record and for a field of another type, MMHError where the
    disk refuses.
    """
    from safetensors.torch import save

    if not dataclasses.is_dataclass(record) or isinstance(record, type):
        raise TypeError(f"Only a record can be kept, got a {type(record).__name__}.")
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_pack(record, "", tensors), sort_keys=True, allow_nan=True)
    # One entry: safetensors writes several in an order that differs from run to run.
    header = {FORMAT: f"{_digest(tree, tensors)} {tree}"}
    # safetensors refuses a file without entries.
    tensors.setdefault("_", torch.zeros(1))
    write_bytes(path, save(tensors, header))


def load_record(path: Path, kind: type[Record], *, remedy: str = _REMEDY) -> Record:
    """Read a record of this kind back; the inverse of `save_record`.

    Errors: MMHError, naming the file, for one that is missing, damaged, changed, or of another
    kind or version; `remedy` is the sentence that says what to do then.
    """
    tree, tensors = _read(path, kind, remedy)
    try:
        # Sealed says only that the file is as somebody made it, not that it holds our types.
        return typing.cast(Record, _unpack(tree, kind, tensors))
    # What a record checks of itself when it is made may be any of these.
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        raise MMHError(
            f"The file {path.name!r} holds another kind of record than {kind.__name__}. {remedy}"
        ) from error


def stored_field(path: Path, kind: type[Any], name: str, *, remedy: str = _REMEDY) -> Any:
    """Return a field of a kept record as JSON has it, None where the record has no such field.

    It can be read from a record whose other fields are those of another version. Errors: those of
    `load_record`.
    """
    tree, _ = _read(path, kind, remedy)
    try:
        return typed_value(tree["fields"], dict[str, Any]).get(name)
    except (ValueError, TypeError, LookupError) as error:
        raise MMHError(
            f"The file {path.name!r} holds another kind of record than {kind.__name__}. {remedy}"
        ) from error


def _read(path: Path, kind: type[Any], remedy: str) -> tuple[Any, dict[str, Tensor]]:
    """Return the JSON tree and the tensors of a file whose digest is right. Errors: MMHError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            names = set(file.keys()) - {"_"}
            tensors = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError:
        missing = "Run the study to make it." if remedy == _REMEDY else remedy
        raise MMHError(f"There is no file {path.name!r}. {missing}") from None
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise MMHError(
            f"The file {path.name!r} is damaged ({error_text(error)}). {remedy}"
        ) from error
    if FORMAT not in header:
        raise MMHError(
            f"The file {path.name!r} holds no {kind.__name__} of this version. {remedy}"
        )
    digest, _, text = header[FORMAT].partition(" ")
    if digest != _digest(text, tensors):
        raise MMHError(f"The file {path.name!r} does not match its own checksum. {remedy}")
    try:
        return parse_json(text, python=True), tensors
    except ValueError as error:
        raise MMHError(
            f"The file {path.name!r} holds another kind of record than {kind.__name__}. {remedy}"
        ) from error


def _digest(tree: str, tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of the tree and of every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(tree.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # As bytes: NumPy has no bfloat16.
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy(force=True).tobytes())
    return digest.hexdigest()


def _pack(value: object, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        # A copy, because safetensors refuses tensors that share their memory.
        tensors[path] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": path}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            f.name: _pack(getattr(value, f.name), f"{path}/{f.name}", tensors)
            for f in dataclasses.fields(value)
        }
        return {"record": type(value).__name__, "fields": fields}
    if isinstance(value, tuple):
        return [_pack(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{path or 'The record'} holds a {type(value).__name__}, which is not kept.")


def _unpack(tree: Any, hint: Any, tensors: dict[str, Tensor]) -> Any:
    """Return the value of a tree; ValueError or KeyError where it is not what the hint says."""
    if isinstance(tree, dict) and "tensor" in tree:
        if not any(option in (Tensor, Any) for option in _options(hint)):
            raise ValueError(f"a tensor stands where {hint} is meant")
        return tensors[typed_value(tree["tensor"], str)].clone()
    if isinstance(tree, dict):
        record_type = _record_type(hint)
        stored_name = typed_value(tree["record"], str)
        if _RENAMED.get(stored_name, stored_name) != record_type.__name__:
            raise ValueError(f"expected {record_type.__name__}, found another record")
        hints = typing.get_type_hints(record_type, localns={"Tensor": Tensor})
        names = {f.name for f in dataclasses.fields(record_type)}
        unknown = {f.name for f in dataclasses.fields(record_type) if _means_unknown(f.default)}
        fields = typed_value(tree["fields"], dict[str, Any])
        for name in _DROPPED.get(record_type.__name__, set()):
            fields.pop(name, None)
        renamed = _RENAMED_FIELDS.get(record_type.__name__, {})
        fields = {renamed.get(name, name): value for name, value in fields.items()}
        if isinstance(label := fields.get("label"), str):
            fields["label"] = _RENAMED_LABELS.get(label, label)
        if not names - unknown <= set(fields) <= names:
            raise ValueError(f"the fields of {record_type.__name__} differ")
        return record_type(**{k: _unpack(v, hints[k], tensors) for k, v in fields.items()})
    if isinstance(tree, list):
        kinds = _item_kinds(hint, len(tree))
        return tuple(_unpack(*pair, tensors) for pair in zip(tree, kinds, strict=True))
    # As it is, and not as a float where it is a whole number: records come back bit for bit.
    typed_value(tree, hint)
    return tree


def _means_unknown(default: object) -> bool:
    """Return whether a field may be left out by an older file: its default says "not known"."""
    return default is None or default in ("", ()) or default != default


def _options(kind: Any) -> tuple[Any, ...]:
    """Return the members of a type hint such as `Record | None`, or the hint itself."""
    united = typing.get_origin(kind) in (types.UnionType, typing.Union)
    return typing.get_args(kind) if united else (kind,)


def _item_kinds(kind: Any, count: int) -> list[Any]:
    """Return the hints of the items of a tuple: `tuple[Record, ...]` or `tuple[int, Record]`."""
    for option in _options(kind):
        if typing.get_origin(option) is tuple:
            items = typing.get_args(option)
            return [items[0]] * count if items[-1:] == (...,) else list(items)
        if option is Any:
            return [Any] * count
    raise ValueError(f"a list stands where {kind} is meant")


def _record_type(kind: Any) -> type[Any]:
    """Return the record class in a type hint, which may be `Record | None`."""
    for option in _options(kind):
        if dataclasses.is_dataclass(option) and isinstance(option, type):
            return option
    raise ValueError(f"a record stands where {kind} is meant")
