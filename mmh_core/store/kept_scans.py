"""Remember which scans a data folder holds: the table, model and settings of each, and its state.

A folder of scans has for each, under its name, the results (`shards`), NAME.json with what it is,
and NAME.state.json with how far it was when it last ended.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmh_core.files import write_text
from mmh_core.formats.untrusted import json_record, read_json, typed_value
from mmh_core.records import MMHError
from mmh_core.store.shards import count_rows

_STATE = ".state.json"


@dataclass(frozen=True)
class ScanAbout:
    """The description of a kept scan: its folder's name, the table, the model and the settings.

    `name` is that of the uploaded table, `file` the kept copy of it, `share` the target
    false-positive rate, and `study` whether flagged prompts are analyzed with images. `column`
    names that of the prompts where the table left it open.
    """

    id: str
    name: str
    file: str
    prompts: int
    model: str
    share: float
    study: bool
    created: float
    column: str = ""


def keep_about(folder: Path, about: ScanAbout) -> None:
    """Write a scan's description, unless it is there. Errors: MMHError where the disk refuses."""
    path = folder / f"{about.id}.json"
    if not path.exists():
        write_text(path, json.dumps(asdict(about)))


def kept_scans(folder: Path, limit: int) -> list[tuple[ScanAbout, int]]:
    """Return the scans of a folder with how many prompts have a result, newest first.

    What is no description of a scan, or a damaged one, is passed over.
    """
    scans = []
    for path in folder.glob("*.json"):
        if path.name.endswith(_STATE):
            continue
        try:
            about = json_record(ScanAbout, read_json(path, "description", "scan again."))
        except (MMHError, ValueError):
            continue
        # The name is where the results are looked for, so that no file leads elsewhere.
        if about.id != path.stem:
            continue
        results = folder / about.id
        scans.append((about, count_rows(results) if results.is_dir() else 0))
    return sorted(scans, key=lambda scan: -scan[0].created)[:limit]


def keep_state(folder: Path, scan_id: str, state: Mapping[str, Any]) -> None:
    """Write the progress of a scan. Errors: MMHError where the disk refuses."""
    write_text(folder / f"{scan_id}{_STATE}", json.dumps(dict(state)))


def read_state(folder: Path, scan_id: str) -> dict[str, Any] | None:
    """Return the progress of a scan, None where it is unknown or damaged."""
    try:
        content = read_json(
            folder / f"{scan_id}{_STATE}", "state of a scan", "scan again.", python=True
        )
        state: dict[str, Any] = typed_value(content, dict[str, Any])
    except (MMHError, ValueError):
        return None
    return state
