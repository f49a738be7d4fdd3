"""The figures in the documentation are those of the JSON that the benchmarks wrote."""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path

import pytest

from docs.scripts import figures, sentences
from docs.scripts.figures import holds
from docs.scripts.pages import PAGES
from docs.scripts.results import DATA, RESULTS, blocks_of, filled, typed
from docs.scripts.results import PAGES as FILLED
from docs.scripts.sentences import SENTENCES
from docs.scripts.tables import TABLES
from mmh_core.detectors.catalogue import DETECTORS
from mmh_core.mitigations.catalogue import MITIGATIONS

DOCS = Path(__file__).parents[2] / "docs"
RESULT_PAGES = sorted(RESULTS.glob("*.md"))


#: Where digits are no figures: code, links, addresses.
NAMES = re.compile(r"`[^`]*`|\]\([^)]*\)|https?://\S+")


@pytest.mark.parametrize("page", FILLED, ids=lambda page: page.stem)
def test_tables_and_sentences_are_made_from_the_data(page: Path) -> None:
    # To renew them: python docs/scripts/results.py
    assert filled(page.read_text()) == page.read_text()


@pytest.mark.parametrize("page", RESULT_PAGES, ids=lambda page: page.stem)
def test_no_number_on_a_page_of_results_is_typed(page: Path) -> None:
    lines = NAMES.sub("", typed(page.read_text())).splitlines()
    assert [line for line in lines if re.search(r"\d", line)] == []


SOURCES = sorted(Path(sentences.__file__).parent.glob("*.py"))


def typed_texts(source: str) -> list[str]:
    """Return the literal texts of a module with a digit, but for formats, docstrings and names."""
    tree = ast.parse(source)
    passed = {
        id(part)
        for node in ast.walk(tree)
        for part in (
            ast.walk(node.format_spec)
            if isinstance(node, ast.FormattedValue) and node.format_spec
            else node.body[:1] and [getattr(node.body[0], "value", None)]
            if isinstance(node, ast.Module | ast.FunctionDef)
            else ()
        )
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if id(node) not in passed and " " in node.value
        if re.search(r"\d", NAMES.sub("", node.value))
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_number_in_a_sentence_is_typed(path: Path) -> None:
    assert typed_texts(path.read_text()) == []


def test_a_number_typed_into_a_sentence_is_found() -> None:
    source = 'def a(x):\n    """Return 1."""\n    return f"{x:.2f} of 36 in `x0`" + "none of it"\n'
    assert typed_texts(source) == [" of 36 in `x0`"]


def test_everything_made_stands_on_one_page() -> None:
    there = [block for page in FILLED for block in blocks_of(page.read_text())]
    makers = [("table", name) for name in TABLES] + [("sentences", name) for name in SENTENCES]
    assert sorted(there) == sorted(makers)


def test_every_data_file_is_named_beside_its_command() -> None:
    text = "\n".join(page.read_text() for page in RESULT_PAGES)
    files = {path.name for path in DATA.glob("*.json")}
    numbers = re.compile(r"digits-\d+")
    assert {one for one in files if f"`{one}`" not in text and not numbers.match(one)} == set()
    assert set(re.findall(r"`([\w-]+\.json)`", text)) <= files


def test_another_figure_in_the_data_is_another_figure_on_the_page(tmp_path: Path) -> None:
    rows = json.loads((DATA / "circle-seeds.json").read_text())
    rows[0]["near_wrong"] = 41
    (tmp_path / "circle-seeds.json").write_text(json.dumps(rows))
    text = "before\n<!-- table circle-seeds -->\nold\n<!-- end -->\nafter\n"
    page = filled(text, tmp_path)
    assert page.startswith("before\n<!-- table circle-seeds -->\n")
    assert page.endswith("<!-- end -->\nafter\n")
    assert "| 0 | 76 | 41 | 392 | 3 |" in page
    assert "old" not in page


@pytest.mark.parametrize(
    ("file", "name", "before", "after", "was", "now"),
    [
        ("closed-forms.json", "closed-forms", '"deviation": 1.', '"deviation": 7.', " 1.", " 7."),
        ("circle.json", "circle", '"points": 47', '"points": 53', "47 points", "53 points"),
        ("benchmark.json", "detector-failures", '"cv_auc": 0.99', '"cv_auc": 0.88', ".999", ".88"),
        ("mitigation-benchmark.json", "mitigations", '"steps": 30', '"steps": 77', "30 ", "77 "),
    ],
)
def test_another_figure_in_the_data_is_another_figure_in_the_sentence(
    file: str, name: str, before: str, after: str, was: str, now: str, tmp_path: Path
) -> None:
    shutil.copytree(DATA, tmp_path, dirs_exist_ok=True)
    text = (DATA / file).read_text()
    assert before in text
    (tmp_path / file).write_text(text.replace(before, after))
    assert was in SENTENCES[name](DATA)
    assert was not in SENTENCES[name](tmp_path)
    assert now in SENTENCES[name](tmp_path)


def test_a_claim_that_the_data_no_longer_has_is_refused() -> None:
    with pytest.raises(ValueError, match="it rains: write the sentence anew"):
        holds(False, "it rains")


def robustness(name: str, robust: bool | None) -> dict[str, object]:
    """Return a row as the benchmark writes it: one of four images is a copy in every way."""
    count = {"copies": 1, "images": 4, "share": {"value": 0.25, "low": 0.01, "high": 0.81}}
    ways = ("paraphrases", "seeds", "attack", "control")
    treatment = {"mitigation": name, "strength": 1.0}
    return {"treatment": treatment, "robust": robust} | dict.fromkeys(ways, count)


def test_sentences_on_mitigations_follow_the_data_of_now_and_of_earlier(tmp_path: Path) -> None:
    """An earlier file has no criteria and no robustness; a new one says both."""
    shutil.copytree(DATA, tmp_path, dirs_exist_ok=True)
    found = json.loads((DATA / "mitigation-benchmark.json").read_text())
    for name in ("criteria", "robustness"):
        found.pop(name, None)
    file = tmp_path / "mitigation-benchmark.json"
    file.write_text(json.dumps(found))
    text = SENTENCES["mitigations-found"](tmp_path)
    assert "**None** of 15 mitigations passes" in text and "was not measured" in text
    assert "not measured" in TABLES["mitigation-criteria"](tmp_path)
    names = [row["treatment"]["mitigation"] for row in found["rows"][1:]]
    found["rows"][5]["meets"] = True
    found["criteria"] = [
        {"treatment": {"mitigation": name}, "failed": ["robust"], "unknown": ["LID risen"]}
        for name in names
    ]
    found["robustness"] = [robustness(name, name == names[0]) for name in ("none", *names)]
    file.write_text(json.dumps(found))
    text = SENTENCES["mitigations-found"](tmp_path)
    assert f"**1** of 15 mitigations pass: `{names[4]}`" in text
    assert f"Robust against all three ways: `{names[0]}`." in text
    assert "- Copies come back: `random_tokens`" in text and "Copies remain" not in text
    table = TABLES["mitigation-criteria"](tmp_path)
    assert f"| `{names[0]}` | robust | LID risen | 1 of 4 (0.01 to 0.81) |" in table


def test_the_sentence_on_training_has_the_groups_and_the_robustness_of_its_data(
    tmp_path: Path,
) -> None:
    shutil.copytree(DATA, tmp_path, dirs_exist_ok=True)
    found = json.loads((DATA / "pocket-training-mitigation.json").read_text())
    for one in found["snapshots"]:
        groups = one["groups"]
        one["groups"] = {"emblem": groups["duplicate"], "normal": groups["normal"]}
    found["snapshots"][-1]["robustness"] = robustness("none", None)
    (tmp_path / "pocket-training-mitigation.json").write_text(json.dumps(found))
    text = SENTENCES["training-mitigation"](tmp_path)
    assert "deduplicated, step 1,000: 1 of 4 of paraphrases" in text
    assert "emblem: copies" in TABLES["training-mitigation"](tmp_path)


@pytest.mark.parametrize(
    ("value", "text"), [(5e-7, "5e-7"), (4.77e-7, "5e-7"), (1.91e-6, "2e-6"), (9.6e-4, "1e-3")]
)
def test_a_magnitude_is_an_upper_bound_of_one_digit(value: float, text: str) -> None:
    assert figures.magnitude(value) == text
    assert float(figures.magnitude(value)) >= value * (1 - 1e-9)


@pytest.mark.parametrize("kind", ["table", "sentences"])
def test_what_nothing_makes_is_not_passed_over(kind: str) -> None:
    with pytest.raises(KeyError, match="no-such"):
        filled(f"<!-- {kind} no-such -->\n<!-- end -->\n")


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


def authors(citation: str) -> list[str]:
    """Return the first authors of the papers in a citation."""
    return re.findall(r"[A-Z]\w+(?= et al\.| &)", citation)


def test_every_mitigation_and_its_paper_is_explained() -> None:
    text = (DOCS / "explanation" / "mitigations.md").read_text()
    for name, mitigation in MITIGATIONS.items():
        if name == "none":
            continue
        row = next((line for line in text.splitlines() if line.startswith(f"| `{name}` |")), "")
        assert [one for one in authors(mitigation.citation) if one not in row] == [], name
        numbers = re.findall(r"\d{4}\.\d{5}", mitigation.citation)
        assert [number for number in numbers if number not in text] == [], name
        assert row, name


def test_every_paper_of_a_detector_is_named() -> None:
    text = (DOCS / "explanation" / "detectors.md").read_text()
    named = {one for detector in DETECTORS.values() for one in authors(detector.citation)}
    assert len(named) > 5
    assert [one for one in named if one not in text] == []


def test_every_paper_that_is_cited_is_on_the_page_of_papers() -> None:
    text = (DOCS / "reference" / "papers.md").read_text()
    files = [*DOCS.rglob("*.md"), *(DOCS.parent / "mmh_core").rglob("*.py")]
    numbers = {
        one for path in files for one in re.findall(r"arXiv:? (\d{4}\.\d{5})", path.read_text())
    }
    assert len(numbers) > 15
    assert [
        one for one in sorted(numbers) if f"[arXiv {one}](https://arxiv.org/abs/{one})" not in text
    ] == []
    cited = [one.citation for one in (*DETECTORS.values(), *MITIGATIONS.values())]
    for citation in cited:
        papers = re.findall(r"(?:[A-Z]\w+ )?(?:et al\.|& [A-Z]\w+) \d{4}", citation)
        assert [one for one in papers if one not in text] == [], citation


def test_the_glossary_has_every_detector_and_mitigation_by_name() -> None:
    text = (DOCS / "reference" / "glossary.md").read_text()
    names = {name for line in re.findall(r"^### (.+)$", text, re.M) for name in line.split(", ")}
    family = re.compile(r"_(count|flipd|dsm)$")
    assert [one for one in MITIGATIONS if one not in names] == []
    assert [one for one in DETECTORS if family.sub("", one) not in names] == []
