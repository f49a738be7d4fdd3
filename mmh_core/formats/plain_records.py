"""Read records back from the JSON that commands write, in which tensors are lists."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from mmh_core.formats.untrusted import typed_value

Record = TypeVar("Record")


#: Names of fields in JSON where they differ from those of the record: JSON keeps its own.
JSON_NAMES: Mapping[str, Mapping[str, str]] = {
    "BenchmarkRow": {"not_solved": "unsolved"},
    "BenchmarkRun": {"data_lid": "true_lid", "text_baselines": "text"},
    "Captions": {"reference": "normal"},
    "CauseResults": {"predicted": "said", "data_lid_estimate": "data_lid"},
    "DetectorRow": {
        "citation": "reference",
        "generation_nfe": "generation",
        "reference_scores": "normal",
    },
    "DoseLevel": {"multiplicity": "copies"},
    "GroupFigures": {"tpr": "true", "fpr": "false"},
    "RealizedRates": {"target_fpr": "share", "tpr": "true", "fpr": "false"},
    "ReferenceCaptionsRow": {
        "seed_similarity": "agreement",
        "changed_share": "changed",
        "alignment_half_width": "alignment_spread",
        "seed_similarity_half_width": "agreement_spread",
    },
    "RowFigures": {"by_image_label": "by_fact"},
    "LabelledPrompt": {"multiplicity": "copies", "exclusion": "aside"},
    "NetworkRow": {"tpr": "true", "fpr": "false", "deviation": "spread"},
}


def plain_record(kind: type[Record], tree: object) -> Record:
    """Return a record from its JSON, the inverse of what the option --json writes.

    Lists become tensors and tuples by the types of the fields, null a NaN where a number is meant.
    Fields that an older file lacks keep their defaults, others that no record has are passed over.
    Errors: ValueError that names the field.
    """
    if not isinstance(tree, Mapping):
        raise ValueError(f"a {kind.__name__} is no object")
    hints = typing.get_type_hints(kind, localns={"Tensor": Tensor})
    json_names = JSON_NAMES.get(kind.__name__, {})
    values = {}
    for field in dataclasses.fields(typing.cast(Any, kind)):
        name = json_names.get(field.name, field.name)
        if name in tree:
            try:
                values[field.name] = _value(tree[name], hints[field.name])
            except (ValueError, TypeError) as error:
                raise ValueError(f"the field {name} {error}") from None
        elif field.default is dataclasses.MISSING:
            raise ValueError(f"it lacks the field {name}")
    return kind(**values)


def _value(value: Any, hint: Any) -> Any:
    """Return a JSON value as the type hint says. Errors: ValueError, TypeError."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        (inner,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
        return None if value is None else _value(value, inner)
    if hint is Tensor:
        if not isinstance(value, list):
            raise ValueError("is no list")
        return torch.tensor(_numbers(value), dtype=torch.float64)
    if hint is float and value is None:
        return math.nan
    if typing.get_origin(hint) is tuple:
        return _items(value, typing.get_args(hint))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return plain_record(hint, value)
    return typed_value(value, hint)


def _items(value: Any, hints: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError("is no list")
    kinds = [hints[0]] * len(value) if hints[-1:] == (...,) else list(hints)
    return tuple(_value(*pair) for pair in zip(value, kinds, strict=True))


def _numbers(value: Any) -> Any:
    """Return nested lists of numbers, null among them NaN. Errors: ValueError."""
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    return math.nan if value is None else typed_value(value, float)
