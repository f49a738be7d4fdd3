"""LID_* is the rank of the renderer's Jacobian, with cases whose rank is known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from mmh_core.pocket import scenes
from mmh_core.pocket.paint import SIDE, Array
from mmh_core.pocket.scenes import Scene, parameters
from mmh_core.pocket.true_lid import VISIBLE, singular_values, true_lid


def _middle(painter: str, style: Mapping[str, str]) -> Scene:
    # Not exactly the middle: there some directions of symmetric images vanish to first order.
    count = len(parameters(painter))
    values = np.random.default_rng(3).uniform(0.3, 0.7, count)
    return Scene(painter, style, tuple(values.tolist()))


@pytest.fixture
def linear(monkeypatch: pytest.MonkeyPatch) -> Array:
    """Register a painter that is linear in its parameters; return its matrix (3, D)."""
    matrix = np.random.default_rng(0).normal(size=(3, SIDE, SIDE, 3)) * 0.02
    matrix[2] = 2 * matrix[0] - matrix[1]

    def paint(p: Mapping[str, Array], style: Mapping[str, str]) -> Array:
        drawn: Array = sum(p[n][..., None] * m for n, m in zip("abc", matrix, strict=True)) + 0.3
        return drawn

    monkeypatch.setitem(scenes.PAINTERS, "linear", (paint, ("a", "b", "c")))
    return matrix.reshape(3, -1)


def test_singular_values_of_a_linear_painter(linear: Array) -> None:
    scene = Scene("linear", {}, (0.2, 0.9, 1.0))
    expected = np.linalg.svd(linear, compute_uv=False) / np.sqrt(linear.shape[1])
    found = singular_values(scene, ("a", "b", "c"))
    # Differences of numbers near 1 over a step of 1e-4 keep eleven digits.
    np.testing.assert_allclose(found, expected, atol=1e-10)
    # The third parameter only repeats what the other two can do.
    assert true_lid(scene, ("a", "b", "c")) == 2
    assert true_lid(scene, ("b",)) == 1


def test_a_direction_below_one_gray_level_does_not_count(
    linear: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint, names = scenes.PAINTERS["linear"]
    for factor, lid in ((0.9, 0), (1.1, 1)):
        size = factor * VISIBLE / np.sqrt((linear[0] ** 2).mean())

        def faint(p: Mapping[str, Array], style: Mapping[str, str], size: float = size) -> Array:
            return paint({name: size * p[name] for name in p}, style)

        monkeypatch.setitem(scenes.PAINTERS, "faint", (faint, names))
        assert true_lid(Scene("faint", {}, (0.5, 0.5, 0.5)), ("a",)) == lid


def test_what_does_not_vary_has_dimension_zero() -> None:
    assert true_lid(_middle("landscape", _VIEW), ()) == 0


_VIEW = {"time": "noon", "feature": "lake", "frame": "none"}
_PAIR = {"count": "2", "ground": "blue", "color1": "red", "color2": "green"}


@pytest.mark.parametrize(
    ("solids", "lid"),
    [
        # Ground 3; each solid has place 2, size, hue, light, and an angle unless it is round.
        (("square", "star"), 15),
        (("circle", "square"), 14),
        (("circle", "ring"), 13),
    ],
)
def test_a_composition_has_the_freedoms_of_its_solids(solids: tuple[str, str], lid: int) -> None:
    style = _PAIR | {"shape1": solids[0], "shape2": solids[1]}
    scene = _middle("composition", style)
    # The parameters of a third solid are there and change nothing.
    assert true_lid(scene, parameters("composition")) == lid


@pytest.mark.parametrize(
    ("painter", "style", "lid"),
    [
        (
            "portrait",
            {"hair": "brown", "cut": "long", "coat": "blue", "extra": "none"},
            len(parameters("portrait")),
        ),
        ("landscape", _VIEW, len(parameters("landscape"))),
        (
            "product",
            {"object": "mug", "decor": "star", "color": "red"},
            len(parameters("product")),
        ),
    ],
)
def test_every_parameter_of_a_scene_is_visible(
    painter: str, style: Mapping[str, str], lid: int
) -> None:
    assert true_lid(_middle(painter, style), parameters(painter)) == lid


def test_one_color_is_one_dimension_and_a_color_with_its_lightness_two() -> None:
    scene = _middle("product", {"object": "vase", "decor": "dot", "color": "any"})
    assert true_lid(scene, ("hue",)) == 1
    assert true_lid(scene, ("hue", "light")) == 2


def test_the_step_stays_in_range_at_both_ends() -> None:
    for end in (0.0, 1.0):
        scene = Scene("landscape", _VIEW, (end,) * len(parameters("landscape")))
        assert true_lid(scene, ("sky_hue", "sun_x")) == 2


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"nose.*choose from"):
        true_lid(_middle("landscape", _VIEW), ("nose",))
    with pytest.raises(ValueError, match=r"seascape.*choose from"):
        parameters("seascape")
