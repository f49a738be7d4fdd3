"""The figures in the documentation are those of the JSON that the benchmarks wrote."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from docs.scripts.pages import PAGES
from docs.scripts.results import DATA, RESULTS, TABLES, filled, tables_of
from mmh_core.detectors.catalogue import DETECTORS
from mmh_core.mitigations.catalogue import MITIGATIONS

DOCS = Path(__file__).parents[2] / "docs"
RESULT_PAGES = sorted(RESULTS.glob("*.md"))


@pytest.mark.parametrize("page", RESULT_PAGES, ids=lambda page: page.stem)
def test_the_tables_are_made_from_the_data(page: Path) -> None:
    # To renew them: python docs/scripts/results.py
    assert filled(page.read_text()) == page.read_text()


def test_every_table_stands_on_one_page() -> None:
    there = [name for page in RESULT_PAGES for name in tables_of(page.read_text())]
    assert sorted(there) == sorted(TABLES)


def test_every_data_file_is_named_beside_its_command() -> None:
    text = "\n".join(page.read_text() for page in RESULT_PAGES)
    files = {path.name for path in DATA.glob("*.json")}
    numbers = re.compile(r"digits-\d+")
    assert {one for one in files if f"`{one}`" not in text and not numbers.match(one)} == set()
    assert set(re.findall(r"`([\w-]+\.json)`", text)) <= files


def test_another_figure_in_the_data_is_another_figure_on_the_page(tmp_path: Path) -> None:
    rows = json.loads((DATA / "circle-seeds.json").read_text())
    rows[0]["near_wrong"] += 41
    (tmp_path / "circle-seeds.json").write_text(json.dumps(rows))
    text = "before\n<!-- table circle-seeds -->\nold\n<!-- end -->\nafter\n"
    page = filled(text, tmp_path)
    assert page.startswith("before\n<!-- table circle-seeds -->\n")
    assert page.endswith("<!-- end -->\nafter\n")
    assert "| 0 | 76 | 41 | 392 | 3 |" in page
    assert "old" not in page


def test_an_unknown_table_is_not_passed_over() -> None:
    with pytest.raises(KeyError, match="no-such"):
        filled("<!-- table no-such -->\n<!-- end -->\n")


def test_the_reference_is_made_from_the_code() -> None:
    commands = PAGES["reference/commands.md"]()
    for words in ("## images", "## review verify", "## pocket check", "--index-images"):
        assert words in commands
    detectors, mitigations = (
        PAGES["reference/detectors.md"](),
        PAGES["reference/mitigations.md"](),
    )
    assert [name for name in DETECTORS if f"`{name}`" not in detectors] == []
    assert [name for name in MITIGATIONS if f"`{name}`" not in mitigations] == []


def authors(reference: str) -> list[str]:
    """Return the first authors of the papers in a reference."""
    return re.findall(r"[A-Z]\w+(?= et al\.| &)", reference)


def test_every_mitigation_and_its_paper_is_explained() -> None:
    text = (DOCS / "explanation" / "mitigations.md").read_text()
    for name, mitigation in MITIGATIONS.items():
        if name == "none":
            continue
        row = next((line for line in text.splitlines() if line.startswith(f"| `{name}` |")), "")
        assert [one for one in authors(mitigation.reference) if one not in row] == [], name
        numbers = re.findall(r"\d{4}\.\d{5}", mitigation.reference)
        assert [number for number in numbers if number not in text] == [], name
        assert row, name


def test_every_paper_of_a_detector_is_named() -> None:
    text = (DOCS / "explanation" / "detectors.md").read_text()
    named = {one for detector in DETECTORS.values() for one in authors(detector.reference)}
    assert len(named) > 5
    assert [one for one in named if one not in text] == []


def test_the_glossary_has_every_detector_and_mitigation_by_name() -> None:
    text = (DOCS / "reference" / "glossary.md").read_text()
    names = {name for line in re.findall(r"^### (.+)$", text, re.M) for name in line.split(", ")}
    family = re.compile(r"_(count|flipd|dsm)$")
    assert [one for one in MITIGATIONS if one not in names] == []
    assert [one for one in DETECTORS if family.sub("", one) not in names] == []


def test_the_sentences_on_mitigations_repeat_the_data() -> None:
    text = (RESULTS / "mitigations.md").read_text()
    rows = {
        row["treatment"]["mitigation"]: row
        for row in json.loads((DATA / "mitigation-benchmark.json").read_text())["rows"]
    }
    repelled, chain = rows["sparse_repellency"], rows["automatic_chain"]
    pushed, padding = rows["anti_memorization_guidance"], rows["padding_fix"]
    for value, digits, sentence in (
        (repelled["solved"], 2, "`sparse_repellency` (solves X of the images"),
        (repelled["lid"], 1, "ends copying everywhere at a LID of X"),
        (chain["solved"], 2, "the automatic chain (X)"),
        (chain["unsolved"], 2, "X of its images are only moved off"),
        (pushed["lid"], 1, "LID stays at X (not solved"),
        (pushed["unsolved"], 2, "(not solved in X)"),
    ):
        figure = f"{value['value']:.{digits}f}".removeprefix("0")
        assert sentence.replace("X", figure) in text, sentence
    assert f"leaves {padding['copied']['value']:.0%}".replace("%", " %") in text
    assert not any(row["meets"] for row in rows.values()) and "**None** of the three" in text
