"""The benchmark page in a real Chromium: result, threshold, a row's link, a table of one's own."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from mmh_core.store.archive import load_record
from mmh_core.studies.detection.benchmark_run import BenchmarkRun
from tests.chromium import (
    PATIENCE,
    REPOSITORY,
    AppServer,
    ColorScheme,
    sees,
    wait_for_app,
)

pytestmark = pytest.mark.browser

HOSTILE = "![x](http://example.org/p.png) <img src=http://example.org/q.png> **a**"


def open_page(page: Page, address: str) -> None:
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    heading = page.get_by_role("heading", name="Benchmark", exact=True)
    expect(heading).to_be_visible(timeout=PATIENCE)


def figure(page: Page, label: str) -> str:
    """Return the value of a figure on the page by its label."""
    metric = page.get_by_test_id("stMetric").filter(has_text=label).first
    expect(metric).to_be_visible(timeout=PATIENCE)
    return metric.get_by_test_id("stMetricValue").inner_text()


def shipped() -> BenchmarkRun:
    return load_record(REPOSITORY / "assets" / "benchmark" / "pocket-sd.safetensors", BenchmarkRun)


def table_of(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("prompt,label\n" + "".join(f'"{text}",{label}\n' for text, label in rows))
    return path


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_it_opens_on_the_result_and_the_threshold_moves_its_consequences(
    app_server: AppServer, browser_page: Page, color_scheme: ColorScheme
) -> None:
    run = shipped()
    row = next(each for each in run.rows if each.name == "early_scan")
    # The first request of a fresh server, where Streamlit would serve the page without app.py.
    open_page(browser_page, f"{app_server.url}/benchmark?detector=early_scan")
    expect(browser_page).to_have_title("Benchmark · Manifold memorization", timeout=PATIENCE)
    assert figure(browser_page, "Early scan (AUC)") == f"{row.all.auc:.3f}"
    for chart in ("bm_separations", "bm_roc", "bm_scores", "bm_truth", "bm_causes"):
        drawn = browser_page.locator(f".st-key-{chart} svg.main-svg").first
        expect(drawn).to_be_visible(timeout=PATIENCE)
    assert run.cause is not None
    confusion = browser_page.locator(".st-key-bm_causes .annotation-text")
    both = list(zip(run.cause.true, run.cause.predicted, strict=True))
    names = ("OD-Mem", "DD-Mem")
    expected = [str(both.count((true, said))) for true in names for said in names]
    assert confusion.all_text_contents() == expected
    wait_for_app(browser_page)

    def consequences(share: float) -> tuple[str, ...]:
        """Return what the page must say where this share of reference prompts may be flagged."""
        place = len(row.reference_scores) - 1 - int(share * len(row.reference_scores))
        above = [bool(score > row.reference_scores[place]) for score in row.scores]
        memorized = [one.memorized for one in run.prompts]
        right = sum(a and m for a, m in zip(above, memorized, strict=True))
        both = [(a, one.kind) for a, one in zip(above, run.prompts, strict=True) if one.memorized]
        trained = [a for a, kind in both if kind != "paraphrase"]
        rephrased = [a for a, kind in both if kind == "paraphrase"]
        return (
            f"{sum(above)} of {len(above)}",
            f"{right / sum(above):.0%}",
            *(f"{sum(part)} of {len(part)}" for part in (trained, rephrased)),
        )

    def shown() -> tuple[str, ...]:
        return (
            figure(browser_page, "Flagged"),
            figure(browser_page, "Precision"),
            figure(browser_page, "Detected, training captions"),
            figure(browser_page, "Detected, paraphrases"),
        )

    assert shown() == consequences(0.01)
    assert shown()[2:] == ("30 of 36", "22 of 36")
    slider = browser_page.get_by_role("slider", name="Target false-positive rate")
    slider.focus()
    # From 1 % in steps of half a percent to the end, 20 %.
    slider.press("End")
    expect(slider).to_have_value("20", timeout=PATIENCE)
    flagged = browser_page.get_by_test_id("stMetric").filter(has_text="Flagged").first
    expect(flagged).to_contain_text(consequences(0.2)[0], timeout=PATIENCE)
    wait_for_app(browser_page)
    assert shown() == consequences(0.2) != consequences(0.01)


def test_a_row_opens_its_prompt_on_the_images_page(
    app_server: AppServer, browser_page: Page
) -> None:
    run = shipped()
    best = max(range(len(run.prompts)), key=lambda i: float(run.rows[0].scores[i]))
    open_page(browser_page, f"{app_server.url}/benchmark")
    wait_for_app(browser_page)
    browser_page.get_by_text("Scored prompts").click()
    # The cells are drawn on a canvas; for screen readers they stand in a table inside it.
    cell = browser_page.locator("td").filter(has_text="/images?").first
    expect(cell).to_be_attached(timeout=PATIENCE)
    address = cell.text_content() or ""
    asked = parse_qs(urlsplit(address).query)
    assert asked == {"model": ["pocket-sd"], "prompt": [run.prompts[best].prompt]}
    browser_page.goto(f"{app_server.url}{address}")
    box = browser_page.get_by_role("textbox", name="Prompt", exact=True)
    expect(box).to_have_value(run.prompts[best].prompt, timeout=PATIENCE)


def test_a_table_of_ones_own_is_refused_in_a_sentence_or_runs_and_can_be_stopped(
    app_server: AppServer, browser_page: Page, tmp_path: Path
) -> None:
    run = shipped()
    memorized = [one.prompt for one in run.prompts if one.memorized][:10]
    normal = [one.prompt for one in run.prompts if not one.memorized][:9]
    open_page(browser_page, f"{app_server.url}/benchmark")
    wait_for_app(browser_page)
    upload = browser_page.locator('input[type="file"]')
    rows = [(HOSTILE, "perhaps")]
    upload.set_input_files(table_of(tmp_path / "mine.csv", rows))
    sees(browser_page, "Row 1 of mine.csv has the label 'perhaps': write memorized or reference.")
    rows = [(text, "memorized") for text in memorized] + [(text, "normal") for text in normal]
    upload.set_input_files(table_of(tmp_path / "few.csv", rows))
    sees(browser_page, re.compile("label at least 10 prompts of both"))
    upload.set_input_files(table_of(tmp_path / "enough.csv", [*rows, (HOSTILE, "normal")]))
    sees(browser_page, re.compile("^20 different prompts, roughly 2 min"))
    browser_page.get_by_role("button", name="Run the benchmark").click()
    sees(browser_page, re.compile("^20 labeled prompts, pocket-sd: "))
    job = parse_qs(urlsplit(browser_page.url).query)["job"][0]
    assert re.fullmatch("[0-9a-f]{32}", job)
    # Meanwhile the precomputed result stands below.
    assert figure(browser_page, "Flagged").endswith(f"of {len(run.prompts)}")
    browser_page.get_by_role("button", name="Cancel", exact=True).click()
    sees(browser_page, re.compile("was stopped before it had a result"))
    browser_page.get_by_role("button", name="Back to the precomputed result").click()
    expect(browser_page).not_to_have_url(re.compile("job="), timeout=PATIENCE)
    expect(browser_page.get_by_text("example.org")).to_have_count(0)
