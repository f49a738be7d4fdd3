"""Contrast of text and marks on every background of both themes, computed from the tokens.

The ratio is that of WCAG 2.2: (L + 0.05) / (l + 0.05) of the relative luminances of sRGB. Text
needs 4.5 (1.4.3), marks, lines and borders of controls that carry a meaning 3 (1.4.11).
"""

from __future__ import annotations

import re
import tomllib
from itertools import product
from pathlib import Path

import pytest

from mmh_core.memorization.verdict import (
    HARM_COLOR,
    IMAGE_ROWS,
    OUTCOME_ROWS,
    POINT_ROWS,
    REVIEW_ROWS,
)
from mmh_core.plots import theme
from views.style import GROUND, HARM, QUIET, QUIET_TEXT, SIDEBAR_GROUND

ROOT = Path(__file__).parents[2]
TEXT, MARK = 4.5, 3.0
Color = tuple[float, float, float]
_THEMES = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"]
#: A color in a style sheet or a figure, with a share where it is translucent.
_RGBA = re.compile(r"rgba\((\d+), ?(\d+), ?(\d+), ?([\d.]+)\)")


def color_of(text: str) -> Color:
    """Return the channels, 0 to 255, of #rrggbb."""
    red, green, blue = (float(int(text[i : i + 2], 16)) for i in (1, 3, 5))
    return red, green, blue


def luminance(color: Color) -> float:
    """Return the relative luminance of a color of sRGB."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
              for c in (channel / 255 for channel in color)]  # fmt: skip
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: Color, other: Color) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def over(color: Color, ground: Color, share: float) -> Color:
    """Return a translucent color on a ground."""
    red, green, blue = (share * c + (1 - share) * g for c, g in zip(color, ground, strict=True))
    return red, green, blue


def on(color: str, ground: str) -> float:
    """Return the contrast of a color as style sheets write it on an opaque ground."""
    if match := _RGBA.fullmatch(color):
        red, green, blue, share = map(float, match.groups())
        below = color_of(ground)
        return contrast(over((red, green, blue), below, share), below)
    return contrast(color_of(color), color_of(ground))


def grounds(name: str) -> dict[str, str]:
    """Return all backgrounds of a theme on which text stands."""
    colors = _THEMES[name]
    named = {key: colors[key] for key in ("backgroundColor", "secondaryBackgroundColor")}
    return named | {f"sidebar {key}": color for key, color in colors["sidebar"].items()}


EVERYWHERE = [(name, ground) for name in ("light", "dark") for ground in grounds(name)]


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [("#000000", "#ffffff", 21.0), ("#777777", "#ffffff", 4.478), ("#ff0000", "#ffffff", 3.998)],
)
def test_the_ratio_is_that_of_the_standard(one: str, other: str, ratio: float) -> None:
    assert contrast(color_of(one), color_of(other)) == pytest.approx(ratio, abs=1e-3)
    assert contrast(color_of(other), color_of(one)) == pytest.approx(ratio, abs=1e-3)


@pytest.mark.parametrize(("name", "ground"), EVERYWHERE)
def test_text_links_and_quiet_text_can_be_read_on_every_background(name: str, ground: str) -> None:
    colors, below = _THEMES[name], grounds(name)[ground]
    assert on(colors["textColor"], below) >= TEXT
    assert on(colors["linkColor"], below) >= TEXT
    text = color_of(colors["textColor"])
    assert contrast(over(text, color_of(below), QUIET), color_of(below)) >= TEXT


@pytest.mark.parametrize("name", ["light", "dark"])
def test_text_on_the_accent_and_code_on_its_ground_can_be_read(name: str) -> None:
    colors = _THEMES[name]
    assert on("#ffffff", colors["primaryColor"]) >= TEXT
    assert on(colors["codeTextColor"], colors["codeBackgroundColor"]) >= TEXT
    assert on(colors["textColor"], colors["dataframeHeaderBackgroundColor"]) >= TEXT
    for below in grounds(name).values():
        assert on(colors["primaryColor"], below) >= MARK


def test_colors_of_both_themes_are_those_of_the_theme_and_harm_can_be_read() -> None:
    texts = [_THEMES[name]["textColor"] for name in ("light", "dark")]
    quiet = [tuple(map(float, rgb.split())) for rgb in re.findall(r"rgb\(([\d ]+) /", QUIET_TEXT)]
    assert quiet == [color_of(text) for text in texts]
    assert re.findall(r"/ (\d+)%", QUIET_TEXT) == [f"{100 * QUIET:.0f}"] * 2
    grounds_of_page = re.findall("#[0-9a-f]{6}", GROUND)
    assert grounds_of_page == [_THEMES[name]["backgroundColor"] for name in ("light", "dark")]
    sidebars = [_THEMES[name]["sidebar"]["backgroundColor"] for name in ("light", "dark")]
    assert re.findall("#[0-9a-f]{6}", SIDEBAR_GROUND) == sidebars
    assert HARM.startswith(f"light-dark({HARM_COLOR}")
    for color, ground in zip(re.findall("#[0-9a-f]{6}", HARM), grounds_of_page, strict=True):
        assert on(color, ground) >= TEXT


def test_no_text_of_a_style_sheet_is_fainter_than_quiet_text() -> None:
    faint = {
        f"{path.relative_to(ROOT)}: {share}"
        for path in (ROOT / "views").rglob("*.py")
        for share in re.findall(r"(?<!-)opacity: (0?\.\d+|0?\.\d+)[;}]", path.read_text())
        if float(share) < QUIET
    }
    assert not faint


@pytest.mark.parametrize(
    ("color", "name"),
    list(product(("ACCENT", "SECOND", "RING", "NEUTRAL"), ("light", "dark"))),
)
def test_lines_and_rings_of_figures_stand_out_from_the_page(color: str, name: str) -> None:
    assert on(getattr(theme, color), _THEMES[name]["backgroundColor"]) >= MARK


@pytest.mark.parametrize("name", ["light", "dark"])
def test_colors_of_verdicts_and_kinds_stand_out_from_the_page(name: str) -> None:
    rows = (*IMAGE_ROWS.values(), *REVIEW_ROWS.values(), *OUTCOME_ROWS.values(),
            *POINT_ROWS.values())  # fmt: skip
    styles = theme.styles([str(number) for number in range(8)]).values()
    colors = {*(row.color for row in rows), *(look.color for look in styles)}
    below = _THEMES[name]["backgroundColor"]
    faint = {color: round(on(color, below), 2) for color in colors if on(color, below) < MARK}
    assert not faint


@pytest.mark.parametrize("name", ["light", "dark"])
def test_points_of_the_lid_scale_have_an_outline_that_stands_out(name: str) -> None:
    # A scale of lightness ends in a color near white or near black: its points are outlined.
    below = _THEMES[name]["backgroundColor"]
    assert on(theme.OUTLINE, below) >= MARK
