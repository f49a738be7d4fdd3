"""Regions have the areas of their formulas, colors those of their color space."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mmh_core.pocket.paint import (
    HUES,
    SIDE,
    arc,
    box,
    color,
    ellipse,
    glow,
    gradient,
    inside,
    local,
    named_color,
    over,
    polygon,
    star,
)

_HALF = np.full((1, 1, 1), 0.5)


def _area(region: np.ndarray) -> float:
    return float(region.sum()) / SIDE**2


@pytest.mark.parametrize(
    ("lightness", "chroma", "hue", "srgb"),
    [
        (1.0, 0.0, 0.0, (1, 1, 1)),
        (0.0, 0.0, 0.0, (0, 0, 0)),
        # OKLCH of the corners of the sRGB cube, from Ottosson's definition.
        (0.62796, 0.25768, 29.234, (1, 0, 0)),
        (0.86644, 0.29483, 142.495, (0, 1, 0)),
        (0.45201, 0.31321, 264.052, (0, 0, 1)),
    ],
)
def test_colors_of_known_coordinates(
    lightness: float, chroma: float, hue: float, srgb: tuple[float, ...]
) -> None:
    # The coordinates are given to five digits; the curve near 0 multiplies an error by 12.92.
    np.testing.assert_allclose(color(lightness, chroma, hue)[0, 0, 0], srgb, atol=4e-3)


def test_grey_has_the_lightness_of_the_cube_root() -> None:
    # Linear grey g has OK lightness g^(1/3); the sRGB curve of g = .2 is .4845.
    grey = color(0.2 ** (1 / 3), 0.0, 0.0)[0, 0, 0]
    np.testing.assert_allclose(grey, 1.055 * 0.2 ** (1 / 2.4) - 0.055, atol=1e-6)


def test_yellow_is_lighter_than_other_names_and_unknown_names_are_refused() -> None:
    brightness = {name: float(named_color(name, 0.6, 0.1).mean()) for name in HUES}
    assert max(brightness, key=lambda name: brightness[name]) == "yellow"
    with pytest.raises(ValueError, match=r"mauve.*choose from"):
        named_color("mauve", 0.5, 0.1)


# A smooth edge is odd around distance 0, so areas are exact up to curvature and the pixel grid:
# half a percent of the image is twice what was seen.
@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_areas_of_regions(angle: float) -> None:
    u, v = local(_HALF, _HALF, np.ones((1, 1, 1)), angle)
    assert _area(inside(ellipse(u, v, 0.3, 0.2))) == pytest.approx(math.pi * 0.06, abs=5e-3)
    assert _area(inside(box(u, v, 0.25, 0.15))) == pytest.approx(0.15, abs=5e-3)
    rounded = 0.15 - (4 - math.pi) * 0.1**2
    assert _area(inside(box(u, v, 0.25, 0.15, 0.1))) == pytest.approx(rounded, abs=5e-3)
    triangle = polygon(u, v, [(0.0, -0.3), (0.3, 0.3), (-0.3, 0.3)])
    assert _area(inside(triangle)) == pytest.approx(0.18, abs=5e-3)
    # Ten triangles between center, tip at radius R and notch at r: n R r sin(pi / n).
    five = star(u / 0.4, v / 0.4, 5, 0.5) * 0.4
    expected = 5 * 0.4 * 0.2 * math.sin(math.pi / 5)
    assert _area(inside(five)) == pytest.approx(expected, abs=5e-3)


def test_a_stroke_is_as_long_and_thick_as_asked() -> None:
    u, v = local(_HALF, _HALF, np.ones((1, 1, 1)))
    flat = arc(u, v, 0.3, np.zeros((1, 1, 1)), 0.05)
    assert _area(inside(flat)) == pytest.approx(0.6 * 0.1 + math.pi * 0.05**2, abs=5e-3)


def test_glow_is_a_gaussian() -> None:
    assert _area(glow(_HALF, _HALF, 0.08)) == pytest.approx(2 * math.pi * 0.08**2, rel=1e-3)


def test_laying_over_mixes_by_coverage_and_opacity() -> None:
    black, white = color(0.0, 0.0, 0.0), color(1.0, 0.0, 0.0)
    sheet = np.broadcast_to(black, (1, SIDE, SIDE, 3))
    left = np.broadcast_to(np.arange(SIDE) < SIDE // 2, (1, SIDE, SIDE)).astype(float)
    laid = over(sheet, left, white, 0.25)
    np.testing.assert_allclose(laid[0, :, : SIDE // 2], 0.25, atol=1e-6)
    np.testing.assert_allclose(laid[0, :, SIDE // 2 :], 0.0, atol=1e-12)


def test_a_gradient_is_even_around_its_middle() -> None:
    image = gradient(color(0.0, 0.0, 0.0), color(1.0, 0.0, 0.0))
    np.testing.assert_allclose(image[0, :, 0] + image[0, ::-1, 0], 1.0, atol=1e-6)
    assert (np.diff(image[0, :, 0, 0]) > 0).all()
