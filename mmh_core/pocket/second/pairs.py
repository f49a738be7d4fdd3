"""Pairs of a generated image and its nearest training image, for a person to compare blindly."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmh_core.files import replacing, write_text
from mmh_core.pocket.figures import Row
from mmh_core.pocket.paint import SIDE
from mmh_core.pocket.second.generated import read_sheet
from mmh_core.pocket.second.inspection import Inspection
from mmh_core.records import MMHError
from mmh_core.statistics.intervals import Interval, share_interval

PAIRS = 200
#: Answers that count as yes and as no, in lower case.
_ANSWERS = {"yes": True, "y": True, "1": True, "no": False, "n": False, "0": False}
#: Pairs of a sheet, columns of it, and how many pixels stand for one.
_PER_SHEET, _COLUMNS, _ZOOM = 20, 4, 3
_GAP, _TITLE = 16, 18
_SEED = 41
_BAR = 0.02
COLUMNS = ("pairs", "pair", "same")


@dataclass(frozen=True)
class EyeAgreement:
    """How often a person and the search disagree on pairs, with Clopper and Pearson's interval.

    `missed` counts pairs that the person calls copies and the search does not, `wrong` the other
    way round; `unanswered` are left out.
    """

    disagreement: Interval
    missed: int
    wrong: int
    answered: int
    unanswered: int


def chosen_pairs(images: pd.DataFrame, count: int = PAIRS, seed: int = _SEED) -> pd.DataFrame:
    """Return generated images to compare, drawn at random: one each of captions drawn at random.

    So the disagreement is that of the images whose copies are counted, with captions of equal
    weight, and its interval holds for it. Pairs chosen near the threshold would say how hard the
    hardest are, which no rate of copies depends on alone.
    """
    rng = np.random.default_rng([seed])
    order = images.iloc[rng.permutation(len(images))]
    return order.drop_duplicates("caption").head(count).reset_index(drop=True)


def write_pairs(inspection: Inspection, folder: Path, count: int = PAIRS) -> tuple[Path, ...]:
    """Write sheets of pairs and `answers.csv` to fill in; return the files.

    No verdict is shown: the key stays in the work folder. Errors: MMHError before any image is
    generated.
    """
    images, _ = inspection.over_networks("generated")
    if images.empty:
        raise MMHError(
            "No images are generated yet: run pocket check --world 2 first, which generates them "
            "once a denoiser is built."
        )
    table = chosen_pairs(images, count)
    table["training"] = table.nearest.where(table.kind != "exact", table.pixel_nearest)
    pixels, rows = inspection.rows.training.pixels, inspection.rows.training.index.ids
    places = {int(number): row for row, number in enumerate(rows)}
    pairs = []
    for record in table.to_dict("records"):
        sheet = inspection.generated(record["network"]).folder / f"{record['caption']}.webp"
        [image] = read_sheet(sheet, [record["image"]])
        nearest = pixels[places[int(record["training"])]].permute(1, 2, 0).numpy()
        pairs.append((image, nearest))
    name = _write_key(inspection, table)
    files = []
    for start in range(0, len(pairs), _PER_SHEET):
        path = folder / f"pairs-{start // _PER_SHEET + 1:02d}.png"
        _write_contact_sheet(path, pairs[start : start + _PER_SHEET], start)
        files.append(path)
    answers = folder / "answers.csv"
    lines = [",".join(COLUMNS), *(f"{name},{i + 1}," for i in range(len(pairs)))]
    write_text(answers, "\n".join(lines) + "\n")
    return (*files, answers)


def read_answers(path: Path) -> tuple[str, dict[int, bool | None]]:
    """Return the name of the pairs and the answer to each, None where it is left empty.

    Errors: MMHError for a file that cannot be read, and for an answer that is neither yes nor no.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        names = {row["pairs"].strip() for row in rows}
        texts = {int(row["pair"]): (row["same"] or "").strip().lower() for row in rows}
    except (OSError, ValueError, KeyError, AttributeError, TypeError, csv.Error) as error:
        raise MMHError(
            f"{path} cannot be read as answers ({error}): fill in the column same of answers.csv "
            "as pocket check --world 2 --pairs wrote it."
        ) from error
    if len(names) != 1:
        raise MMHError(f"{path} must hold the answers to one set of pairs, and has {len(names)}.")
    for number, text in texts.items():
        if text and text not in _ANSWERS:
            raise MMHError(f"Pair {number} of {path} says {text[:20]!r}: write yes or no.")
    return names.pop(), {number: _ANSWERS.get(text) for number, text in texts.items()}


def judged(work: Path, path: Path) -> EyeAgreement:
    """Return how far answers agree with the search, and keep that for the check's table.

    Errors: MMHError for answers to other pairs than were written last.
    """
    name, answers = read_answers(path)
    key = _read(work / "check" / "pairs.json")
    if key is None or key["name"] != name:
        raise MMHError(
            f"{path} answers other pairs than were written last: write pairs again with pocket "
            "check --world 2 --pairs FOLDER, and answer those."
        )
    agreement = agreement_of(key["copied"], answers)
    record = {
        "name": name,
        "disagree": agreement.missed + agreement.wrong,
        "answered": agreement.answered,
    }
    write_text(work / "check" / "eye.json", json.dumps(record) + "\n")
    return agreement


def agreement_of(copied: Sequence[bool], answers: Mapping[int, bool | None]) -> EyeAgreement:
    """Return the agreement of the verdicts of pairs 1, 2, ... with a person's answers."""
    both = [
        (verdict, answer)
        for number, verdict in enumerate(copied, start=1)
        if (answer := answers.get(number)) is not None
    ]
    missed = sum(answer and not verdict for verdict, answer in both)
    wrong = sum(verdict and not answer for verdict, answer in both)
    interval = share_interval(missed + wrong, len(both))
    return EyeAgreement(interval, missed, wrong, len(both), len(copied) - len(both))


def disagreement_row(inspection: Inspection) -> Row:
    """Return the disagreement of search and eye, NaN unless today's pairs are all answered."""
    figure = f"disagreement of search and eye on {PAIRS} pairs"
    key, eye = (_read(inspection.shipped(name)) for name in ("pairs.json", "eye.json"))
    count = 0 if eye is None else int(eye["answered"])
    nothing = Row(figure, math.nan, math.nan, math.nan, _BAR, "most", count)
    if key is None or eye is None or key["name"] != eye["name"]:
        return nothing
    if key["images"] != _folders(inspection) or count < len(key["copied"]):
        return nothing
    interval = share_interval(int(eye["disagree"]), count)
    return Row(figure, interval.value, interval.low, interval.high, _BAR, "most", count)


def _write_key(inspection: Inspection, table: pd.DataFrame) -> str:
    """Keep what the search says of each pair, out of sight; return the name of the set."""
    columns = ["network", "caption", "image", "training"]
    key: dict[str, Any] = {
        "images": _folders(inspection),
        "copied": [bool(value) for value in table.copied],
        "pairs": json.loads(table[columns].to_json(orient="records")),
    }
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:8]
    write_text(inspection.shop.work / "check" / "pairs.json", json.dumps({"name": name, **key}))
    return name


def _folders(inspection: Inspection) -> list[str]:
    return [inspection.generated(number).folder.name for number in inspection.networks]


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def _write_contact_sheet(
    path: Path, pairs: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]], start: int
) -> None:
    """Write a sheet of pairs, generated image left, with their numbers above."""
    from PIL import Image, ImageDraw

    side = _ZOOM * SIDE
    width, height = 2 * side + 2 + _GAP, side + _TITLE + _GAP
    rows = math.ceil(len(pairs) / _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * width + _GAP, rows * height + _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for i, pair in enumerate(pairs):
        x, y = _GAP + i % _COLUMNS * width, _GAP + i // _COLUMNS * height
        pen.text((x, y), str(start + i + 1), fill="black")
        for j, image in enumerate(pair):
            enlarged = Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(enlarged, (x + j * (side + 2), y + _TITLE))
    with replacing(path) as temporary:
        sheet.save(temporary)
