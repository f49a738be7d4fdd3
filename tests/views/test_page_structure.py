"""What a screen reader moves by: one title on each page, and headings that skip no level."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from views.images.session import example_kinds

ROOT = Path(__file__).parents[2]
_LEVELS = {"title": 1, "header": 2, "subheader": 3}
OTHER = next(kind for kind in example_kinds() if kind != "duplicate")
PAGES = [
    ("overview", {}),
    ("manifolds", {}),
    ("manifolds", {"manifold": "digits"}),
    ("manifolds", {"tab": "training"}),
    ("images", {}),
    ("images", {"tab": "audit"}),
    ("images", {"tab": "sets"}),
    ("images", {"tab": "compare", "other": OTHER}),
    ("mitigation", {}),
    ("mitigation", {"tab": "grid"}),
    ("review", {}),
    ("review", {"tab": "table"}),
    ("review", {"tab": "scan"}),
    ("review", {"tab": "agree"}),
    ("review", {"tab": "export"}),
    ("benchmark", {}),
    ("glossary", {}),
]


def levels(app: AppTest) -> Iterator[int]:
    """Yield the levels of the headings of a page, from its top to its end."""
    for element in app.main:
        if element.type in _LEVELS:
            yield _LEVELS[element.type]
        elif element.type == "html":
            yield from map(int, re.findall(r"<h([1-6])", str(getattr(element, "value", ""))))


@pytest.mark.parametrize(("page", "link"), PAGES)
def test_a_page_has_one_title_and_skips_no_level(
    page: str, link: dict[str, str], tmp_path: Path, started_with: Callable[..., None]
) -> None:
    started_with("--data", tmp_path)
    app = AppTest.from_file(str(ROOT / "pages" / f"{page}.py"), default_timeout=120)
    for name, value in link.items():
        app.query_params[name] = value
    assert not app.run().exception
    shown = list(levels(app))
    assert shown[0] == 1 and shown.count(1) == 1 and len(shown) > 1
    assert all(after <= before + 1 for before, after in pairwise(shown)), shown
