"""The world is reproducible, labelled truly, and gives nothing away by single words."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from mmh_core.pocket.cast import COUNTS, named_subjects, random_style
from mmh_core.pocket.grammar import TEMPLATES, caption, captions, content
from mmh_core.pocket.scenes import PAINTERS, Scene, draw, parameters, render
from mmh_core.pocket.world import (
    COLUMNS,
    HELD_OUT,
    OVERFIT_EXPOSURES,
    World,
    build_world,
    prompts,
    subjects,
    trained_captions,
)


@pytest.fixture(scope="module")
def world() -> World:
    """Return a small world, drawn once."""
    return build_world(0, share=0.01)


def test_the_same_seed_draws_the_same_world_and_another_another(world: World) -> None:
    again = build_world(0, share=0.01)
    np.testing.assert_array_equal(world.images, again.images)
    np.testing.assert_array_equal(world.held_out, again.held_out)
    assert world.labels.equals(again.labels)
    names, others = ({subject.id for subject in subjects(seed)} for seed in (0, 1))
    assert set(world.labels.subject) <= names
    # The open families are those of every seed; of the rest, most bear other names.
    assert len(names & others) < len(names) / 2


def test_a_smaller_share_keeps_the_cast_and_its_images(world: World) -> None:
    larger = build_world(0, share=0.02)
    for kind in ("duplicate", "overfit"):
        small, large = (w.labels[w.labels.kind == kind] for w in (world, larger))
        assert small.captions.tolist() == large.captions.tolist()
        np.testing.assert_array_equal(
            world.images[small.id.to_numpy()], larger.images[large.id.to_numpy()]
        )


def test_kinds_are_what_their_table_says(world: World) -> None:
    labels = world.labels
    assert tuple(labels.columns) == COLUMNS
    low, high = labels.groupby("kind").lid.min(), labels.groupby("kind").lid.max()
    assert (low["duplicate"], high["duplicate"]) == (0, 0)
    assert (low["template"], high["template"]) == (1, 2)
    for wide in ("varied", "overfit"):
        assert low[wide] > 5
    assert low["open"] >= 9
    assert high["open"] <= 22
    counts = labels.groupby("kind").subject.nunique()
    assert (counts[["duplicate", "template", "overfit", "varied"]] >= 20).all()
    copies = labels.groupby("kind").copies
    assert copies.min()["duplicate"] >= 30
    assert copies.max()["duplicate"] <= 200
    overfit = labels[labels.kind == "overfit"].groupby("subject").copies
    assert overfit.size().between(1, 3).all()
    assert overfit.sum().between(OVERFIT_EXPOSURES - 2, OVERFIT_EXPOSURES).all()


def test_memorized_captions_are_one_string_and_others_all_paraphrases(world: World) -> None:
    for kind, group in world.labels.groupby("kind"):
        number = group.captions.map(len)
        if kind in ("open", "varied"):
            assert (number == 4).all()
        else:
            assert (number == 1).all()
            assert (group.groupby("subject").captions.nunique() == 1).all()


def test_no_word_gives_the_kind_away() -> None:
    kinds = defaultdict(set)
    rng = np.random.default_rng(0)
    for subject in subjects(0):
        for _ in range(200 if subject.name is None else 1):
            style = random_style(subject.painter, rng) if subject.name is None else subject.style
            scene = Scene(subject.painter, style, subject.values)
            for text in trained_captions(subject, scene):
                for word in re.findall(r"[\w-]+", text):
                    kinds[word].add(subject.kind)
    alone = {word: found for word, found in kinds.items() if len(found) == 1}
    assert {word for word, found in alone.items() if found != {"open"}} == set()


def test_captions_have_realistic_lengths_and_name_their_subject() -> None:
    for subject in named_subjects(0):
        for text in captions(subject.painter, subject.style, subject.name):
            assert 5 <= len(text.split()) <= 15
            assert subject.name is not None
            assert subject.name in text
    table = prompts(0)
    assert table.caption.is_unique
    assert set(table.groupby("kind").subject.nunique()) == {
        sum(kinds.get(kind, 0) for kinds in COUNTS.values())
        for kind in ("duplicate", "template", "overfit", "varied")
    }


def test_prompts_keep_paraphrases_of_memorized_captions_untrained() -> None:
    table = prompts(0)
    per_subject = table.groupby(["kind", "subject"]).trained.sum()
    for kind in ("duplicate", "template", "overfit"):
        assert (per_subject[kind] == 1).all()
    assert (per_subject["varied"] == 4).all()
    halves = table.groupby(["kind", "split"]).subject.nunique().unstack()
    assert (halves.calibration - halves.test).between(0, 1).all()
    assert table.groupby("subject").split.nunique().eq(1).all()


def test_an_object_looks_like_its_name() -> None:
    for subject in named_subjects(0):
        if subject.painter == "product" and subject.name is not None:
            assert subject.name.replace("t-shirt", "shirt").endswith(subject.style["object"])


def test_held_out_images_are_of_the_same_families_and_not_trained_on(world: World) -> None:
    trained = {image.tobytes() for image in world.images}
    assert not any(image.tobytes() in trained for image in world.held_out)
    assert set(world.held_out_labels.kind) == {"open", *HELD_OUT}
    assert (world.held_out_labels.copies == 0).all()


def test_images_of_one_subject_differ_and_a_template_keeps_its_layout(world: World) -> None:
    template = next(s for s in named_subjects(0) if s.kind == "template")
    names = parameters(template.painter)
    values = np.repeat([template.values], 2, axis=0)
    values[:, names.index("hue")] = (0.1, 0.6)
    first, second = render(template.painter, template.style, values)
    moved = np.abs(first - second).max(axis=2) > 1 / 255
    # Only the object changes color; wall, table and shadow stay.
    assert 0.02 < moved.mean() < 0.35


def test_content_is_equal_exactly_when_captions_are() -> None:
    rng = np.random.default_rng(1)
    for painter in PAINTERS:
        styles = [random_style(painter, rng) for _ in range(60)]
        for one in styles[:10]:
            for other in styles:
                same = captions(painter, one, None) == captions(painter, other, None)
                assert same == (content(painter, one, None) == content(painter, other, None))


def test_drawing_depends_on_the_scene_alone() -> None:
    subject = named_subjects(0)[0]
    scene = Scene(subject.painter, subject.style, subject.values)
    np.testing.assert_array_equal(draw(scene), draw(replace(scene)))


def test_bad_values_are_refused() -> None:
    with pytest.raises(ValueError, match="share must be above 0"):
        build_world(0, share=0.0)
    with pytest.raises(ValueError, match="template must be from 0 to"):
        caption("portrait", {}, "Ada Ott", template=len(TEMPLATES["portrait"]), light=0)
    with pytest.raises(ValueError, match="values must be"):
        render("emblem", {}, np.zeros((1, 3)))
