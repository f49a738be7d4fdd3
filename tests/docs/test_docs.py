"""What README and the documentation name is there, and what they tell people to run parses."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from mmh_core.studies.review.scan_rows import COLUMNS
from tests.commands import missing_from_cli

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
TEXT = {page: page.read_text() for page in PAGES}
#: Pages that are made while the site is built.
MADE = {"reference/commands.md", "reference/detectors.md", "reference/mitigations.md"}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(language: str) -> list[tuple[str, str]]:
    """Return the code blocks of a language, each with its page and number."""
    return [
        (f"{name(page)}-{number}", block)
        for page, text in TEXT.items()
        for number, block in enumerate(
            re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        )
    ]


def commands() -> list[tuple[str, ...]]:
    """Return the commands in all pages, each as its words up to the end of its line or quote."""
    lines = [line for text in TEXT.values() for line in re.findall(r"\./mmh ([^`\n#|&]+)", text)]
    return sorted({tuple(line.split()) for line in lines})


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_and_option_exists(words: tuple[str, ...]) -> None:
    assert missing_from_cli(words) == ""


@pytest.mark.parametrize(("where", "block"), blocks("sh"))
def test_every_shell_block_parses(where: str, block: str) -> None:
    checked = subprocess.run(["sh", "-n"], input=block, text=True, capture_output=True)
    assert checked.returncode == 0, f"{where}: {checked.stderr}"


@pytest.mark.parametrize(("where", "block"), blocks("python"))
def test_every_python_block_parses_and_imports_what_is_there(where: str, block: str) -> None:
    tree = ast.parse(block, where)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    if not any("diffusers" in ast.unparse(node) for node in imports):
        exec(compile(ast.Module(imports, []), where, "exec"), {})


SCRIPTS = sorted({s for t in TEXT.values() for s in re.findall(r"python (benchmarks/\w+\.py)", t)})


def test_the_documentation_names_every_benchmark_and_no_other() -> None:
    assert sorted(f"benchmarks/{path.name}" for path in ROOT.glob("benchmarks/*.py")) == SCRIPTS


#: Starts scripts one after the other, each without what those before it imported of the project.
START = """
import runpy, sys
path, modules = list(sys.path), set(sys.modules)
for script in sys.argv[1:]:
    sys.path[:], sys.argv = path, [script, "--help"]
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] in ("mmh_core", "benchmarks", "tests", "views"):
            del sys.modules[name]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        assert not end.code, (script, end.code)
"""


def test_every_benchmark_starts_from_any_folder(tmp_path: Path) -> None:
    scripts = [ROOT / script for script in SCRIPTS]
    ended = subprocess.run(
        [sys.executable, "-c", START, *scripts], cwd=tmp_path, capture_output=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr.decode()
    assert ended.stdout.count(b"usage:") == len(scripts)


def slug(heading: str) -> str:
    """Return the anchor that the site gives a heading."""
    plain = re.sub(r"[`*\\]", "", heading)
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", TEXT[page]):
        target, _, anchor = link.partition("#")
        if ":" in target:
            continue
        place = (page.parent / target).resolve() if target else page
        made = DOCS in place.parents and str(place.relative_to(DOCS)) in MADE
        anchors = {slug(one) for one in re.findall(r"^#+ (.+)$", TEXT.get(place, ""), re.M)}
        if not made and (not place.exists() or (anchor and anchor not in anchors)):
            wrong.append(link)
    assert wrong == []


def test_the_navigation_holds_every_page_once() -> None:
    _, _, nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")
    listed = re.findall(r"[\w/-]+\.md", nav)
    there = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} | MADE
    assert sorted(listed) == sorted(there)


def test_every_button_that_is_to_be_pressed_is_there() -> None:
    code = "".join(path.read_text() for path in ROOT.glob("views/**/*.py"))
    named = {word for text in TEXT.values() for word in re.findall(r"press \*([^*]+)\*", text)}
    assert named
    assert [word for word in named if f'"{word}"' not in code] == []


#: Names that stand for others: the word in capitals is to be replaced.
STANDS_FOR = ("docs/results/data/FILE", "docs/results/data/digits-N.json")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_that_is_named_is_there(page: Path) -> None:
    rooms = "mmh_core|views|pages|docs|tests|assets|benchmarks"
    named = {one.rstrip(".") for one in re.findall(rf"(?<![\w/])(?:{rooms})/[\w./-]+", TEXT[page])}
    assert [path for path in sorted(named - {*STANDS_FOR}) if not (ROOT / path).exists()] == []


def test_every_name_of_code_in_the_architecture_is_there() -> None:
    rooms = ("mmh_core", "views", "pages", "tests")
    code = "\n".join(p.read_text() for room in rooms for p in (ROOT / room).rglob("*.py"))
    known = set(re.findall(r"\w+", code))
    named = re.findall(r"`(\w+)(?:\([^`]*\))?`", TEXT[DOCS / "architecture.md"])
    assert len(named) > 60
    assert [word for word in named if word not in known] == []


def test_every_column_of_a_scan_is_explained() -> None:
    named = re.findall(r"`(\w+)`", TEXT[DOCS / "how-to" / "own-prompts.md"])
    assert [column for column in COLUMNS if column not in named] == []


def test_what_is_said_to_be_in_a_file_is_there() -> None:
    text = TEXT[DOCS / "architecture.md"]
    pairs = re.findall(r"`(\w+)` (?:in|\() ?`(mmh_core/[\w/]+\.py)`", text)
    pairs += re.findall(r"`(\w+)` \(`(mmh_core/[\w/]+\.py)`", text)
    assert len(pairs) > 15
    wrong = {
        f"{word} in {path}"
        for word, path in pairs
        if not re.search(rf"^(?:def |class |    )?{word}\b", (ROOT / path).read_text(), re.M)
    }
    assert wrong == set()


def test_the_walk_of_a_prompt_is_as_short_as_it_says() -> None:
    walk = TEXT[DOCS / "architecture.md"].split("## The walk of a prompt")[1].split("\n## ")[0]
    named = set(re.findall(r"`((?:mmh_core|views)/[\w/]+\.py)`", walk))
    named.remove("mmh_core/studies/images/curves_and_frames.py")
    page = named - {"mmh_core/cli/images.py"}
    command = {one for one in named if one.startswith("mmh_core/")}
    command.remove("mmh_core/store/job_runner.py")
    assert "the card it passes twelve modules, from the command to the record nine" in walk
    assert (len(page), len(command)) == (12, 9)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_words_are_those_of_the_field(page: Path) -> None:
    wrong = r"\b(pictures?|twins?|innocent|cures?|treatments?|forwards|lone|gravity|hand over)\b"
    prose = re.sub(r"`[^`]*`|```.*?```", "", TEXT[page], flags=re.DOTALL)
    assert re.findall(wrong, prose, re.IGNORECASE) == []


def test_the_glossary_explains_each_term_once_and_shortly() -> None:
    text = TEXT[DOCS / "reference" / "glossary.md"]
    headings = re.findall(r"^### (.+)$", text, re.MULTILINE)
    assert len(headings) == len(set(headings)) > 60
    for heading, explained in re.findall(r"^### (.+)\n(.+)$", text, re.MULTILINE):
        assert explained.endswith("."), heading
        assert len(re.findall(r"[.:]\s", explained + " ")) <= 4, heading
    for before, after in pairwise(re.findall(r"^#+ .+$", text, re.MULTILINE)):
        assert not (before.startswith("### ") and after.startswith("# "))


def test_the_readme_fits_on_two_screens() -> None:
    lines = TEXT[ROOT / "README.md"].splitlines()
    assert len(lines) <= 80
    assert max(map(len, lines)) <= 160
    blocks_of_python = re.findall(r"```python\n(.*?)```", "\n".join(lines), re.DOTALL)
    assert [len(block.strip().splitlines()) <= 8 for block in blocks_of_python] == [True]
