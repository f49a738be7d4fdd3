"""The guided tour, as a person uses it: its steps, the bar, the ways on, and what it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from streamlit.testing.v1 import AppTest

from mmh_core.memorization.verdict import COPY_VERDICTS
from mmh_core.mitigations.catalogue import mitigation_words
from mmh_core.retrieval.copy_evidence import is_copy
from mmh_core.store.archive import load_record
from mmh_core.studies.images.run import ImageRun
from mmh_core.studies.mitigation.run import MitigationRun
from mmh_core.studies.mitigation.verdict import best, treatment_results
from tests.views.pages import opened, pages_html, said, sound, unmarked
from views.tour import examples, steps


@pytest.fixture(autouse=True)
def data(tmp_path: Path, started_with: Callable[..., None]) -> None:
    started_with("--data", tmp_path)


def at(number: int, **more: str) -> AppTest:
    """Return the page of a step, opened by the link to it, with further parameters."""
    parts = urlsplit(steps.address(number))
    app = opened(parts.path)
    for name, value in (dict(parse_qsl(parts.query)) | more).items():
        app.query_params[name] = value
    return sound(app.run())


def ways(app: AppTest) -> dict[str, str]:
    """Return the links of the bar by their labels."""
    found = re.findall(r'<a class="tour-\w+" href="([^"]*)">([^<]*)</a>', pages_html(app))
    return {label: unescape(address) for address, label in found}


def bar(app: AppTest) -> str:
    """Return the text of the bar, "" where there is none."""
    found = re.search(r'<section class="tour".*?</section>', pages_html(app))
    return unescape(re.sub(r"<[^>]*>", " ", found.group())) if found else ""


def test_the_tour_goes_from_a_circle_over_copies_and_none_to_a_mitigation() -> None:
    every = steps.steps()
    assert [step.name for step in every] == ["training", "copies", "contrast", "mitigation"]
    copied, free, after = examples.copied(), examples.uncopied(), examples.mitigated()
    assert copied is not None and free is not None and after is not None
    verdicts = [image.verdict for image in load_record(copied.path, ImageRun).images]
    # What a jury would call copies: no run has a larger share of exact ones.
    shares = [
        [image.verdict for image in load_record(path, ImageRun).images].count("exact copy")
        for path in copied.path.parent.glob("*.safetensors")
    ]
    assert verdicts.count("exact copy") == max(shares) > 0
    assert {i.verdict for i in load_record(free.path, ImageRun).images} == {"not memorized"}
    run = load_record(after.path, MitigationRun)
    assert after.copies == sum(map(is_copy, run.cells[0].kinds)) > 0
    assert set(run.cells[after.number].kinds) == {"none"}


@pytest.mark.parametrize("number", range(1, len(steps.steps()) + 1))
def test_a_step_opens_from_its_link_and_leads_back_on_and_out(number: int) -> None:
    app, every = at(number), steps.steps()
    step = every[number - 1]
    assert f"Tour, step {number} of {len(every)}" in bar(app) and step.title in bar(app)
    last = number == len(every)
    on = "Finish" if last else "Next"
    links = ways(app)
    assert list(links) == ["Back", on, "Leave the tour"]
    assert links["Back"] == ("./" if number == 1 else steps.address(number - 1))
    assert links[on] == ("./" if last else steps.address(number + 1))
    out = urlsplit(links["Leave the tour"])
    assert (out.path, dict(parse_qsl(out.query))) == (step.page, step.parameters)
    # The page leaves the address as it is: one that it rewrote would catch the browser's Back.
    assert dict(app.query_params) == dict(parse_qsl(urlsplit(steps.address(number)).query))
    assert not app.warning and "shows something else" not in bar(app)


def test_the_bar_counts_what_the_examples_hold() -> None:
    copied, free, after = examples.copied(), examples.uncopied(), examples.mitigated()
    assert copied is not None and free is not None and after is not None
    images = load_record(copied.path, ImageRun).images
    copies = sum(image.verdict in COPY_VERDICTS for image in images)
    assert f"Press Play: {copies} of {len(images)} end as a cop" in bar(at(2))
    assert f"none of {free.images} images is a copy" in bar(at(3))
    app = at(4)
    text = bar(app)
    assert f"{after.copies} of {after.images} images are copies without a mitigation" in text
    # Of the mitigations that leave no copy, that of the page's first sentence.
    passing = best(treatment_results(load_record(after.path, MitigationRun)))
    assert passing is not None
    name = mitigation_words(passing.treatment.mitigation, passing.treatment.strength)
    assert f"and 0 with {name}" in text
    page = pages_html(app)
    assert f"with {name} none is" in unescape(page)


def test_the_bar_stays_through_a_choice_and_says_when_the_page_shows_something_else() -> None:
    app = at(1)
    sound(app.button_group(key="mf_color").set_value("verdict").run())
    assert "step 1 of" in bar(app) and "Press Play" in bar(app)
    assert dict(app.query_params) == {"manifold": "circle", "color": "verdict", "tour": "1"}
    sound(app.radio(key="mf_group").set_value("Manifolds with known LID").run())
    assert "The page shows something else by now" in bar(app) and "Press Play" not in bar(app)
    assert steps.address(1) in unescape(pages_html(app))


@pytest.mark.parametrize(
    ("page", "value", "sentence"),
    [
        ("manifolds", "x", "tour is 'x'; it must be a whole number from 1 to"),
        ("manifolds", "99", "it must be a whole number from 1 to"),
        ("manifolds", "2", "Step 2 of the tour is on another page."),
    ],
)
def test_an_address_at_no_step_of_the_page_is_named_and_left(
    page: str, value: str, sentence: str
) -> None:
    app = opened(page)
    app.query_params["tour"] = value
    sound(app.run())
    assert sentence in unmarked(said(app)) and not bar(app)
    assert "tour" not in app.query_params


def test_without_the_tour_a_page_has_no_bar() -> None:
    assert not bar(sound(opened("manifolds").run()))


def test_a_tour_without_examples_has_the_steps_that_are_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "damaged.safetensors").write_bytes(b"no run")
    monkeypatch.setattr(examples, "IMAGES", tmp_path)
    monkeypatch.setattr(examples, "MITIGATION", tmp_path)
    assert [step.name for step in steps.steps()] == ["training"]
    assert steps.address(2) == "./"
