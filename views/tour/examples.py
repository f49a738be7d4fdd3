"""Which finished examples the tour shows, chosen by what they hold and read without torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from views.images.session import EXAMPLES as IMAGES
from views.mitigation.session import EXAMPLES as MITIGATION
from views.mitigation.session import example_names

_COPIES = ("exact copy", "template copy")
_FREE = "not memorized"


@dataclass(frozen=True)
class ImageExample:
    """A finished run of one prompt: of its `images` images `copies` are copies.

    `exact` of these are exact copies. `free` images have the verdict not memorized; what is left
    is suspicious or undecided. `similarity` is the mean similarity to the nearest training images.
    """

    path: Path
    prompt: str
    images: int
    copies: int
    exact: int
    free: int
    similarity: float


@dataclass(frozen=True)
class MitigationExample:
    """A finished comparison whose `copies` of `images` images are copies without mitigation.

    Under the mitigation `label` none is; `number` counts it among the cells.
    """

    path: Path
    prompt: str
    images: int
    copies: int
    number: int
    label: str


def copied() -> ImageExample | None:
    """Return the run that a jury would soonest call copies, None where none has any.

    That with the largest share of exact copies, then the one whose prompt is mitigated later, then
    the one nearest to training images.
    """
    mitigated_prompt = after.prompt if (after := mitigated()) else ""
    with_copies = [run for run in _images() if run.copies]
    return max(
        with_copies,
        key=lambda run: (run.exact / run.images, run.prompt == mitigated_prompt, run.similarity),
        default=None,
    )


def uncopied() -> ImageExample | None:
    """Return the run without a memorized image that is least like training images, or None."""
    without = [run for run in _images() if run.images and run.free == run.images]
    return min(without, key=lambda run: run.similarity, default=None)


def mitigated() -> MitigationExample | None:
    """Return the comparison with most copies of which a mitigation leaves none, or None."""
    comparisons = (_comparison(str(p), _stamp(p)) for p in _paths(MITIGATION, example_names()))
    return max(
        (one for one in comparisons if one is not None and one.copies),
        key=lambda one: one.copies / one.images,
        default=None,
    )


def _images() -> list[ImageExample]:
    paths = _paths(IMAGES, (path.stem for path in sorted(IMAGES.glob("*.safetensors"))))
    return [run for run in (_run(str(path), _stamp(path)) for path in paths) if run is not None]


def _paths(folder: Path, names: Iterable[str]) -> list[Path]:
    return [folder / f"{name}.safetensors" for name in names]


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns if path.is_file() else 0


@st.cache_resource(show_spinner=False, max_entries=32)
def _run(path: str, stamp: int) -> ImageExample | None:
    """Return what the header of a run says, None where it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            fields = _header(file)
        images = [image["fields"] for image in fields["images"]]
        verdicts = [str(image["verdict"]) for image in images]
        copies = [image["copy"]["fields"] for image in images if image["copy"]]
        similar = [float(copy["similarity"]) for copy in copies]
        prompt = str(fields["config"]["fields"]["prompts"][0])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, IndexError):
        return None
    return ImageExample(
        Path(path),
        prompt,
        len(verdicts),
        sum(verdict in _COPIES for verdict in verdicts),
        verdicts.count(_COPIES[0]),
        verdicts.count(_FREE),
        sum(similar) / len(similar) if similar else 0.0,
    )


@st.cache_resource(show_spinner=False, max_entries=32)
def _comparison(path: str, stamp: int) -> MitigationExample | None:
    """Return a comparison with its best aligned mitigation without copies, None without one."""
    from safetensors import SafetensorError, safe_open

    best, chosen, before = -math.inf, None, (0, 0)
    try:
        with safe_open(path, framework="numpy") as file:
            fields = _header(file)
            prompt = str(fields["config"]["fields"]["prompts"][0])
            for number, cell in enumerate(fields["cells"]):
                of = cell["fields"]
                kinds, treatment = of["kinds"], of["treatment"]["fields"]
                if of["prompt"] != 0:
                    continue
                if treatment["mitigation"] == "none":
                    before = sum(kind in ("exact", "template") for kind in kinds), len(kinds)
                if treatment["mitigation"] in ("none", "random_tokens") or set(kinds) != {"none"}:
                    continue
                aligned = float(file.get_tensor(f"/cells/{number}/alignment").mean())
                if aligned > best:
                    best, chosen = aligned, (number, str(of["label"]))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, IndexError):
        return None
    if chosen is None:
        return None
    return MitigationExample(Path(path), prompt, before[1], before[0], *chosen)


def _header(file: Any) -> dict[str, Any]:
    header = (file.metadata() or {})["mmh-record-1"]
    fields: dict[str, Any] = json.loads(header.partition(" ")[2])["fields"]
    return fields
