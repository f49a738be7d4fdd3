"""Every page in a real Chromium, light and dark, by the rules of axe-core: nothing serious.

axe-core (Deque Systems, MPL 2.0) comes with the test dependency axe-playwright-python.
"""

from __future__ import annotations

from importlib.resources import files

import pytest
from playwright.sync_api import Page, expect

from tests.chromium import PATIENCE, AppServer, ColorScheme, wait_for_app

pytestmark = pytest.mark.browser

PAGES = (
    "",
    "manifolds",
    "images",
    "mitigation",
    "review",
    "review?tab=scan",
    "benchmark",
    "glossary",
)
AXE = (files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
#: Whoever moves by headings must not lose their way, though axe calls that moderate.
_ALSO = ("heading-order", "page-has-heading-one")


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_no_page_violates_a_serious_rule(
    app_server: AppServer, browser_page: Page, path: str, color_scheme: ColorScheme
) -> None:
    browser_page.set_default_timeout(PATIENCE)
    browser_page.goto(f"{app_server.url}/{path}")
    expect(browser_page.get_by_role("heading", level=1)).to_be_visible(timeout=PATIENCE)
    wait_for_app(browser_page, timeout=PATIENCE / 1000)
    # Elements whose code is still under way stand there as skeletons.
    expect(browser_page.get_by_test_id("stSkeleton")).to_have_count(0, timeout=PATIENCE)
    browser_page.evaluate(AXE)
    report = browser_page.evaluate("axe.run({resultTypes: ['violations']})")
    broken = [
        f"{rule['id']}: {node['html'][:120]}"
        for rule in report["violations"]
        if rule["impact"] in ("serious", "critical") or rule["id"] in _ALSO
        for node in rule["nodes"]
    ]
    assert report["passes"] and not broken
