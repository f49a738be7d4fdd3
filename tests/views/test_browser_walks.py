"""Two people in a real Chromium who know nothing yet: a newcomer with one card, and an auditor.

What the screen says is compared with the run and the files behind it, so that a page that answers
beside the point fails. The demonstrator walks in `test_browser_tour`, the reviewer in
`test_browser_review`.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from mmh_core.installation import assets
from mmh_core.memorization.verdict import COPY_VERDICTS, verdict_words
from mmh_core.store.archive import load_record
from mmh_core.studies.images.conclusion import conclusion
from mmh_core.studies.images.run import ImageRun
from tests.chromium import PATIENCE, AppServer, sees, wait_for_app
from views.glossary import terms
from views.overview.answers import answers

pytestmark = pytest.mark.browser


def settled(page: Page) -> None:
    """Wait until a page stands to its end."""
    expect(page.get_by_role("heading", level=1)).to_be_visible(timeout=PATIENCE)
    wait_for_app(page, timeout=PATIENCE / 1000)


def above(first: Locator, second: Locator) -> bool:
    """Return whether an element stands above another one."""
    boxes = first.bounding_box(), second.bounding_box()
    return boxes[0] is not None and boxes[1] is not None and boxes[0]["y"] < boxes[1]["y"]


def test_the_question_mark_stands_after_the_last_word_of_a_title_at_every_width(
    app_server: AppServer, browser_page: Page
) -> None:
    page = browser_page
    page.set_default_timeout(PATIENCE)
    page.goto(app_server.url)
    settled(page)
    expect(page.locator(".mf-help")).to_be_visible(timeout=PATIENCE)
    for width in (1440, 1100, *range(900, 760, -14), *range(480, 320, -14)):
        page.set_viewport_size({"width": width, "height": 900})
        # The title's last line, and the mark: side by side, in the middle of one another.
        line, mark = page.evaluate(
            """() => {
              const title = [...document.querySelector('h1').getClientRects()].at(-1);
              const mark = document.querySelector('.mf-help').getBoundingClientRect();
              return [title, mark].map(box => [box.left, box.right, box.top, box.bottom]);
            }"""
        )
        assert line[2] < (mark[2] + mark[3]) / 2 < line[3], width
        # Within the padding of the title, which ends with it.
        assert line[0] < mark[0] and abs(mark[1] - line[1]) < 2, width
        assert mark[1] <= width


def test_a_newcomer_reads_a_card_its_verdict_and_what_to_do(
    app_server: AppServer, browser_page: Page
) -> None:
    page = browser_page
    page.set_default_timeout(PATIENCE)
    page.goto(app_server.url)
    settled(page)
    page.get_by_role("link", name=re.compile("Generate images")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Images", timeout=PATIENCE)
    sees(page, "What to do next.")
    settled(page)
    run = load_record(assets() / "images" / "duplicate.safetensors", ImageRun)
    image = run.images[0]
    assert image.lid is not None and image.copy is not None

    # Is it a copy? The page's first sentence says of all, the card of this one, beside the
    # training image, and with the threshold beside the similarity.
    finding = page.get_by_text(conclusion(run).finding)
    card = page.locator(".st-key-im_cards .st-key-im_card_0")
    assert above(finding, card)
    assert image.verdict in COPY_VERDICTS
    expect(card).to_contain_text(verdict_words(image.verdict))
    expect(card.locator(".im-pair img")).to_have_count(2)
    expect(card).to_contain_text(f"training image {image.copy.nearest:,}")
    expect(card).to_contain_text(f"{image.copy.threshold:.3f}")

    # What does its LID mean? In how many directions, and where that stands among others.
    sees(page, re.compile("in how many directions the model could still vary it"))
    expect(card).to_contain_text(re.compile(r"LID -?\d+(\.\d+)?"))
    expect(card).to_contain_text("reference")
    with page.expect_popup() as opened:
        page.get_by_role("link", name="LID in the glossary").click()
    glossary = opened.value
    glossary.set_default_timeout(PATIENCE)
    settled(glossary)
    expect(glossary.get_by_role("textbox", name="Search")).to_have_value("LID")
    # The word's own entry comes before those that mention it.
    entry = next(term.name for term in terms() if "lid" in term.name.casefold())
    expect(glossary.locator("p > strong").first).to_have_text(entry)
    glossary.close()

    # What to do? The end of the page says it for this run, and how sure that is.
    advice = page.get_by_role("region", name="What to do next")
    expect(advice).to_contain_text(conclusion(run).recommendation)
    expect(advice).to_contain_text(conclusion(run).certainty)
    assert above(card, advice)


def test_an_auditor_finds_answers_by_keys_and_each_leads_to_a_page_that_stands(
    app_server: AppServer, browser_page: Page
) -> None:
    page = browser_page
    page.set_default_timeout(PATIENCE)
    page.goto(app_server.url)
    settled(page)
    expected = answers(str(app_server.data))
    entries = page.locator(".ov-answers details")
    expect(entries).to_have_count(len(expected), timeout=PATIENCE)
    addresses = []
    for entry, (question, answer, words, _) in zip(entries.all(), expected, strict=True):
        text, link = entry.locator("p"), entry.get_by_role("link")
        expect(text).to_be_hidden()
        summary = entry.locator("summary")
        expect(summary).to_have_text(question)
        summary.focus()
        page.keyboard.press("Enter")
        expect(text).to_be_visible()
        expect(text).to_contain_text(answer)
        expect(link).to_contain_text(words)
        addresses.append(str(link.evaluate("link => link.href")))
    # They say where data is kept: in the folder of this server.
    assert page.get_by_text(str(app_server.data)).filter(visible=True).count()
    for address in addresses:
        page.goto(address)
        settled(page)
        assert urlsplit(page.url).path == urlsplit(address).path
        expect(page.get_by_test_id("stException")).to_have_count(0)
        expect(page.get_by_test_id("stAlertContentError")).to_have_count(0)
    # Error rates come with what they do not show, open, on the same page.
    page.goto(addresses[2])
    settled(page)
    limits = page.get_by_test_id("stExpander").filter(has_text="Limits")
    expect(limits.locator("details")).to_have_attribute("open", "", timeout=PATIENCE)
    expect(limits.get_by_text(re.compile(r"\w{3}")).nth(1)).to_be_visible()
