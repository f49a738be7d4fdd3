"""What all HTML reports share: the template engine, numbers as text, and images inside the page.

Every text is escaped by the engine, whoever wrote it; the base template forbids scripts and
foreign content (Content-Security-Policy).
"""

from __future__ import annotations

import base64
import math
import unicodedata
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from torch import Tensor

from mmh_core.plots.image_grid import reduced
from mmh_core.report.image_files import png_bytes
from mmh_core.subject.caption_kinds import kind_words
from mmh_core.subject.copies import ImageCopyEvidence

#: Images up to this side are enlarged without smoothing.
SMALL = 160


def render(template: str, **values: object) -> str:
    """Return a template of this folder filled with values."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "printable": printable,
        "figure": number_text,
        "kind_words": kind_words,
    }
    return environment.get_template(template).render(values)


def printable(text: str) -> str:
    """Return a text with replacement characters for control characters and lone surrogates."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if letter not in "\t\n\r" and unicodedata.category(letter) in ("Cc", "Cs")
        else letter
        for letter in text
    )


def number_text(value: float, digits: int = 1) -> str:
    """Return a figure as people read it, "unknown" for NaN."""
    # + 0.0 turns -0.0, a rounded small negative number, into 0.
    return "unknown" if math.isnan(value) else f"{round(value, digits) + 0.0:,.{digits}f}"


def similarity_words(copy: ImageCopyEvidence) -> str:
    """Return a similarity with the copy threshold, below which no copy is proposed."""
    if math.isnan(copy.similarity):
        return "unknown"
    value = number_text(copy.similarity, 3)
    if math.isnan(copy.threshold):
        return f"{value} (no copy threshold)"
    return f"{value} (copy threshold {number_text(copy.threshold, 3)})"


def percentile_words(percentile: float) -> str:
    """Return a percentile (0 to 1) in percent, 0 % and 100 % only where it is exactly that."""
    if 0.995 <= percentile < 1:
        return "more than 99 %"
    if 0 < percentile < 0.0005:
        return "less than 0.1 %"
    return f"{number_text(100 * percentile, 1 if 0 < percentile < 0.1 else 0)} %"


def data_url(image: Tensor, most: int | None = None) -> str:
    """Return an image, uint8 (3, H, W), as a data URI of a PNG, reduced to sides of `most`."""
    return png_url(png_bytes(image if most is None else reduced(image, most), None))


def png_url(data: bytes) -> str:
    """Return the bytes of a PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(data).decode()
