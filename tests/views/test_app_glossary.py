"""The page with the glossary: every term of the documentation, found by any of its words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from mmh_core.records import MMHError
from views.glossary import Term, terms

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "pages" / "glossary.py"


def opened(**parameters: str) -> AppTest:
    app = AppTest.from_file(str(PAGE), default_timeout=60)
    for name, value in parameters.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception and not app.error
    return app


def names(app: AppTest) -> list[str]:
    found = (re.match(r"\*\*(.+?)\*\*  \n", one.value) for one in app.markdown)
    return [match[1] for match in found if match]


def test_every_term_of_the_file_is_shown_in_its_group() -> None:
    app = opened()
    text = (ROOT / "docs" / "reference" / "glossary.md").read_text()
    assert names(app) == re.findall(r"^### (.+)$", text, re.MULTILINE)
    assert [one.value for one in app.header] == re.findall(r"^## (.+)$", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("sought", "first"),
    [
        ("nfe", "NFE"),
        ("OD-Mem", "OD-Mem"),
        ("seal", "seal"),
        ("kappa", "agreement, Cohen's kappa"),
        ("  Guidance norm ", "guidance vector, guidance norm"),
        ("plateau", "plateau"),
    ],
)
def test_a_word_s_own_entry_comes_first(sought: str, first: str) -> None:
    app = opened()
    app.text_input(key="gl_search").input(sought).run()
    assert names(app)[0] == first
    assert len(names(app)) < 20


def test_a_link_opens_with_its_word() -> None:
    assert names(opened(term="NFE"))[0] == "NFE"


@pytest.mark.parametrize("page", [p for p in sorted(PAGE.parent.glob("*.py")) if p != PAGE])
def test_every_page_leads_to_the_entry_of_its_term(page: Path) -> None:
    [term] = re.findall(r'^    term="(.+)",$', page.read_text(), re.MULTILINE)
    assert term.casefold() in names(opened(term=term))[0].casefold()


@pytest.mark.parametrize("sought", ["zebra", "![](http://example.com/x.png)", "*" * 80, "\\("])
def test_what_is_not_there_is_said_letter_by_letter(sought: str) -> None:
    app = opened(term=sought)
    assert names(app) == []
    assert len(app.info) == 1
    assert "http://" not in app.info[0].value.replace("\u2060", "")


def test_a_missing_file_names_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(MMHError, match=r"restore .*none\.md or install anew"):
        terms(tmp_path / "none.md")


def test_terms_are_read_with_group_and_text(tmp_path: Path) -> None:
    (tmp_path / "g.md").write_text("# G\n\nx\n\n## A\n\n### b, c\nOne.\n\n### d\nTwo.\n\n## E\n")
    assert terms(tmp_path / "g.md") == (Term("A", "b, c", "One."), Term("A", "d", "Two."))
