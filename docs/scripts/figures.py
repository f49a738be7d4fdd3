"""How figures are read from the data of benchmarks and written in sentences and tables."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmh_core.counting import plural
from mmh_core.formats.plain_records import plain_record
from mmh_core.pocket.figures import Check, Row
from mmh_core.statistics.intervals import LEVEL
from mmh_core.studies.detection.benchmark_run import BenchmarkRun
from mmh_core.studies.detection.networks import read_network

#: The level of all intervals, in percent.
PERCENT = f"{100 * LEVEL:.0f} %"
#: What was asked for before it was measured, where neither code nor data hold it.
BARS: dict[str, tuple[float, ...]] = {
    "estimators": (0.15, 0.3, 1.0),
    "best detector": (0.99, 0.95),
    "early scan": (0.95, 0.8),
    "unconditional LID": (0.85,),
    "rank correlation": (0.6,),
}


def read(path: Path) -> Any:
    """Return what a JSON file holds."""
    return json.loads(path.read_text())


def benchmark_run(data: Path) -> BenchmarkRun:
    """Return the benchmark of detectors. Errors: MMHError for a file that is none."""
    return read_network(data / "benchmark.json").run


def holds(condition: bool, claim: str) -> None:
    """Refuse a claim that the data no longer has. Errors: ValueError."""
    if not condition:
        raise ValueError(f"The data no longer has it that {claim}: write the sentence anew.")


def figure(value: float, digits: int) -> str:
    """Return a number with so many digits, without the 0 before its point."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("0") if value < 1 and digits else text


def percent(value: float, digits: int = 0) -> str:
    """Return a share in percent."""
    return spaced(f"{value:.{digits}%}")


def spaced(text: str) -> str:
    """Return a text with a space before each sign of percent."""
    return re.sub(r"(?<=\d)%", " %", text)


def magnitude(value: float) -> str:
    """Return the least number with one digit that is not below a small one, such as 2e-6."""
    if value == 0:
        return "0"
    power = math.floor(math.log10(value))
    digit = math.ceil(value / 10.0**power - 1e-9)
    return f"{digit}e{power}" if digit < 10 else f"1e{power + 1}"


def listed(parts: Sequence[str]) -> str:
    """Return parts as a list in words: a, b and c."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def threads(count: int) -> str:
    """Return a number of threads in words."""
    return "one thread" if count == 1 else plural(count, "thread")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    lines = [list(heads), ["---"] * len(heads), *map(list, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def check_of_model(data: Path) -> Check:
    """Return what `./mmh pocket check` measured of the shipped model."""
    rows = read(data / "pocket-check.json")["figures"]
    return Check(tuple(plain_record(Row, row) for row in rows))
