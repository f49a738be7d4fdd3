"""Images of the second world: pure functions of their numbers, with a known LID*."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mmh_core.pocket.paint import SIDE
from mmh_core.pocket.second.doses import Sizes
from mmh_core.pocket.second.families import GRAMMARS, GrammarCaption, ImageFamily, family_of, names
from mmh_core.pocket.second.finish import FINISH, draw_all, parameters, render
from mmh_core.pocket.second.images import (
    NEAR,
    caption_of,
    changed,
    open_images,
    row_images,
    trained_scene,
)
from mmh_core.pocket.second.tables import Tables, build_tables
from mmh_core.pocket.second.truth import (
    caption_truths,
    chance_of_copy,
    distances,
    explained_by_cells,
    lid_star,
    singular_values,
)

SMALLER = Sizes(exact=1, near=1, template=1, unique=6, fresh=6, small=12, held_out=2, other=3)


@pytest.fixture(scope="module")
def tables() -> Tables:
    """Return the tables of a smaller world."""
    return build_tables(0, SMALLER)


def caption(
    painter: str, fixed: tuple[tuple[str, int], ...], subject: str | None
) -> GrammarCaption:
    """Return a caption with a name or without."""
    return GrammarCaption(painter, 0, subject, subject in names(painter), fixed)


def everything(painter: str) -> tuple[tuple[str, int], ...]:
    """Return a phrase for every attribute but the subject."""
    return tuple((each.name, 1) for each in GRAMMARS[painter].details)


def middle(family: ImageFamily, seed: int = 0) -> np.ndarray:
    """Return free values away from the ends and from symmetric places."""
    return np.random.default_rng(seed).uniform(0.3, 0.7, len(family.free))


@pytest.mark.parametrize("painter", list(GRAMMARS))
def test_the_grammar_fixes_parameters_that_the_painter_has_once(painter: str) -> None:
    own = GRAMMARS[painter].parameters()
    assert len(own) == len(set(own))
    assert set(own) <= set(parameters(painter))
    # What no attribute has is part of the finish alone.
    assert set(parameters(painter)) - set(own) <= {*FINISH, "hue3"}
    phrases = [c.phrase for each in GRAMMARS[painter].attributes for c in each.choices]
    assert len(phrases) == len(set(phrases))


@pytest.mark.parametrize("painter", list(GRAMMARS))
def test_what_a_caption_says_is_fixed_and_the_rest_is_free(painter: str) -> None:
    for name, number in everything(painter):
        family = family_of(caption(painter, ((name, number),), None), 0)
        each = next(e for e in GRAMMARS[painter].details if e.name == name)
        scenes = [family.scene(np.random.default_rng(i)) for i in range(4)]
        values = np.array([scene.values for scene in scenes])
        spread = dict(zip(parameters(painter), values.std(0), strict=True))
        assert all(spread[p] == 0 for p in each.parameters)
        assert all(spread[p] > 0 for p in family.free)
        assert set(family.free) | set(each.parameters) == set(GRAMMARS[painter].parameters())
        for scene in scenes:
            assert each.choices[number].style.items() <= scene.style.items()


@pytest.mark.parametrize("painter", list(GRAMMARS))
@pytest.mark.parametrize("named", [False, True])
def test_a_caption_that_says_everything_has_one_image(painter: str, named: bool) -> None:
    subject = names(painter)[1] if named else GRAMMARS[painter].subject.choices[1].phrase
    family = family_of(caption(painter, everything(painter), subject), 0)
    assert family.free == ()
    scenes = [family.scene(np.random.default_rng(i)) for i in (0, 1)]
    assert scenes[0] == scenes[1]
    assert lid_star(scenes[0], family.free) == 0


@pytest.mark.parametrize("painter", list(GRAMMARS))
def test_every_free_parameter_is_a_direction(painter: str) -> None:
    # Two solids, neither of them round: what belongs to a third one changes nothing.
    unseen = ("x3", "y3", "size3", "angle3", "hue3", "light3") if painter == "composition" else ()
    subject = GRAMMARS[painter].subject.choices[-3 if painter == "composition" else 0].phrase
    family = family_of(caption(painter, (), subject), 0)
    scene = family.at({**family.scene(np.random.default_rng(0)).style}, middle(family))
    visible = [name for name in family.free if name not in unseen]
    style = dict(scene.style)
    if painter == "composition":
        style |= {"count": "2", "shape1": "star", "shape2": "square"}
    scene = family.at(style, middle(family))
    assert lid_star(scene, visible) == len(visible)
    assert lid_star(scene, family.free) == len(visible)


@pytest.mark.parametrize("painter", list(GRAMMARS))
def test_lid_reaches_from_zero_to_about_twenty(painter: str) -> None:
    family = family_of(caption(painter, (), None), 0)
    scene = family.scene(np.random.default_rng(5))
    assert lid_star(scene, family.free) >= 16


def test_singular_values_are_those_of_a_finer_central_difference() -> None:
    family = family_of(caption("product", (("wall", 0),), None), 0)
    scene = family.at(family.scene(np.random.default_rng(0)).style, middle(family))
    places = [parameters("product").index(name) for name in family.free]
    step, base = 1e-5, np.asarray(scene.values)
    slopes = []
    for place in places:
        points = np.stack([base, base])
        points[0, place] -= step
        points[1, place] += step
        low, high = render("product", dict(scene.style), points)
        slopes.append((high - low).ravel() / (2 * step))
    expected = np.linalg.svd(np.array(slopes), compute_uv=False) / np.sqrt(3 * SIDE * SIDE)
    np.testing.assert_allclose(singular_values(scene, family.free), expected, rtol=0.02)


def test_an_image_does_not_depend_on_its_company(tables: Tables) -> None:
    together = row_images(tables, range(0, 60, 5))
    alone = np.concatenate([row_images(tables, [row]) for row in range(0, 60, 5)])
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("name", list(NEAR))
def test_near_duplicates_differ_from_the_image_and_from_one_another(
    name: str, tables: Tables
) -> None:
    rows = tables.rows[tables.rows["transform"] == name].index[:16]
    images = row_images(tables, rows)
    number = int(tables.rows.caption[rows[0]])
    plain = draw_all([trained_scene(tables, number, 0)])
    distance = distances(images, plain)[:, 0]
    assert distance.max() > 0.01
    # A mirrored portrait is far from itself; all others stay near.
    assert name in ("flip", "crop", "shift") or distance.max() < 0.15
    different = len({image.tobytes() for image in images})
    # Mirrored or not; 81 shifts, of which 16 draws may take one twice; all others never repeat.
    assert different == 2 if name == "flip" else different >= (12 if name == "shift" else 16)
    np.testing.assert_array_equal(images[1], changed(plain[0], name, number, 1))


def test_images_of_a_template_differ_in_one_attribute_alone(tables: Tables) -> None:
    table = tables.captions
    for number in table[(table.role == "template") & (table.varied != "")].id:
        painter = table.painter[number]
        scenes = [trained_scene(tables, number, i) for i in range(5)]
        spread = np.ptp([scene.values for scene in scenes], axis=0)
        names_of = np.array(parameters(painter))
        details = {each.name: each for each in GRAMMARS[painter].details}
        assert set(names_of[spread > 0]) == set(details[table.varied[number]].parameters)
        assert all(scene.style == scenes[0].style for scene in scenes)


def test_open_images_go_on_without_end_and_their_captions_are_nobody_elses(
    tables: Tables,
) -> None:
    first, later = (list(open_images(tables, start, 40)) for start in (0, 20))
    assert first[20:] == later[:20]
    texts = {each.caption.text for each in first}
    assert not texts & set(tables.captions.text)
    assert len({repr(each.scene.style) + str(each.scene.values) for each in first}) == 40


def test_a_narrow_family_copies_by_chance_and_a_wide_one_does_not(tables: Tables) -> None:
    narrow = family_of(caption("emblem", everything("emblem"), names("emblem")[0]), 0)
    wide = family_of(caption("emblem", (), None), 0)
    rng = np.random.default_rng(0)
    for family, chance in ((narrow, 1.0), (wide, 0.0)):
        image = draw_all([family.scene(rng)])
        assert chance_of_copy([family.scene(rng) for _ in range(10)], image) == chance
    assert chance_of_copy([wide.scene(rng)], np.empty((0, SIDE, SIDE, 3), np.uint8)) == 0


def test_truth_of_captions_follows_what_they_leave_free(tables: Tables) -> None:
    numbers = list(range(0, 60, 10))
    truths = list(caption_truths(tables, numbers))
    for truth in truths:
        free = tables.captions.free[truth.caption]
        assert free - 8 <= truth.lid <= free
        assert truth.chance == 1.0 or free > 0
    with pytest.raises(ValueError, match="no images in the world"):
        caption_of(tables, len(tables.captions) - 1)


def test_the_share_that_cells_explain() -> None:
    lid = [1.0, 3.0, 5.0, 7.0]
    frame = pd.DataFrame({"painter": list("aabb"), "role": "x", "lid": lid})
    # Means 2 and 6 around 4: 16 of 20 between the cells.
    assert explained_by_cells(frame) == pytest.approx(0.8)


def test_values_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"values must be \(B, 20\) for product"):
        render("product", {}, np.zeros((2, 11)))
