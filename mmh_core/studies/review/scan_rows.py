"""The rows of a scan: the scores of a prompt, and the results of its image study."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from mmh_core.memorization.verdict import most_severe
from mmh_core.retrieval.copy_evidence import copy_rate
from mmh_core.store.prompt_table import PromptRow
from mmh_core.store.shards import ColumnKind, ScanRow, Value
from mmh_core.studies.images.run import ImageRun
from mmh_core.subject.early_calibration import EarlyScores
from mmh_core.text_to_image.unread_text import UnreadText

#: What a row of the results holds beside prompt and seeds; `more` are further columns, as JSON.
COLUMNS: dict[str, ColumnKind] = {
    "row": "int",
    "label": "text",
    "name": "text",
    "tags": "text",
    "more": "text",
    "score": "float",
    "guidance_norm": "float",
    "cosine": "float",
    "percentile": "float",
    "flagged": "bool",
    "cut": "text",
    "unread": "text",
    "verdict": "text",
    "copy_rate": "float",
    "similarity": "float",
    "nearest": "int",
    "lid": "float",
    "lid_percentile": "float",
    "run": "text",
}
#: Folder of the full studies within that of the scan.
RUNS = "runs"


def scan_row(
    row: PromptRow, seeds: tuple[int, ...], values: Mapping[str, Value], reading: UnreadText
) -> ScanRow:
    """Return the row of a prompt: what its table says of it, with the values found.

    `reading` is what the text encoder made of it: the end that it did not read (`cut`) and the
    letters that it has no token for (`unread`).
    """
    about: dict[str, Value] = {
        "row": row.row,
        "label": row.label,
        "name": row.name,
        "tags": "; ".join(row.tags),
        "cut": reading.cut,
        "unread": reading.unread,
        "more": json.dumps(dict(row.more), ensure_ascii=False) if row.more else "",
    }
    return ScanRow(row.prompt, seeds, {**about, **values})


def early_figures(scores: EarlyScores, i: int, *, flagged: bool) -> dict[str, Value]:
    """Return the scores of prompt `i`, with the study's columns empty."""
    return {
        "score": float(scores.score[i]),
        "guidance_norm": float(scores.guidance_norm[i]),
        "cosine": float(scores.cosine[i]),
        "percentile": float(scores.percentile[i]),
        "flagged": flagged,
        "verdict": "",
        "copy_rate": math.nan,
        "similarity": math.nan,
        "nearest": -1,
        "lid": math.nan,
        "lid_percentile": math.nan,
        "run": "",
    }


def run_figures(run: ImageRun) -> dict[str, Value]:
    """Return the figures of a prompt's images.

    The most severe verdict, the copy rate, the largest similarity and the training
    image that has it, copied or not, and the means of LID and of its percentile (0 to 1).
    """
    copies = [image.copy for image in run.images if image.copy is not None]
    lids = [image.lid for image in run.images if image.lid is not None]
    near = [copy for copy in copies if not math.isnan(copy.similarity)]
    nearest = max(near, key=lambda copy: copy.similarity, default=None)
    return {
        "verdict": most_severe(image.verdict for image in run.images),
        "copy_rate": copy_rate(copy.kind for copy in copies),
        "similarity": math.nan if nearest is None else nearest.similarity,
        "nearest": -1 if nearest is None else nearest.nearest,
        "lid": sum(lid.conditional for lid in lids) / len(lids) if lids else math.nan,
        "lid_percentile": sum(lid.percentile for lid in lids) / len(lids) if lids else math.nan,
    }
