"""Every command that a message, page or report tells people to run is there."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mmh_core.cli.inputs import no_calibration
from mmh_core.installation import PROGRAM
from mmh_core.report.command import image_command, mitigation_command
from mmh_core.studies.images.run import ImageConfig
from mmh_core.studies.manifolds.config import default_config
from mmh_core.studies.mitigation.run import MitigationConfig, Treatment
from mmh_core.text_to_image.requests import Sampling
from tests.commands import missing_from_cli
from views.manifolds.settings import command as manifold_command

ROOT = Path(__file__).parents[2]
PLACES = ["mmh_core", "views", "pages", "app.py", "README.md", "CHANGELOG.md"]
#: What is no way to run the program: `mmh_core` is no program, and without the launcher's path and
#: environment `python -m mmh_core` finds neither the packages nor itself.
WRONG = re.compile(r"(?<![./\w-])(python3? -m mmh_core|mmh_core|mmh) (?!as mmh\b)(?=[a-z])")


def written(part: ast.expr) -> str:
    """Return what a part of an f-string gives, X for what varies."""
    if isinstance(part, ast.Constant):
        return str(part.value)
    value = part.value if isinstance(part, ast.FormattedValue) else None
    return PROGRAM if isinstance(value, ast.Name) and value.id == "PROGRAM" else "X"


def texts(path: Path) -> Iterator[str]:
    """Yield the texts of a file; of Python its strings, f-strings with X for what varies.

    Commands are told by the name of the program as this installation is called.
    """
    if path.suffix != ".py":
        yield path.read_text().replace("{{ program | printable }}", PROGRAM)
        return
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(written(part) for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def told() -> list[tuple[str, str]]:
    """Return every text that names a command, with its file."""
    files = [ROOT / place for place in PLACES]
    found = [
        path
        for place in files
        for path in (sorted(place.rglob("*")) if place.is_dir() else [place])
        if path.suffix in (".py", ".html", ".md")
    ]
    return [
        (path.relative_to(ROOT).as_posix(), text)
        for path in found
        for text in texts(path)
        if "mmh" in text
    ]


def test_every_command_that_is_told_exists() -> None:
    asked = [
        (name, line)
        for name, text in told()
        for line in re.findall(r"\./mmh ([a-z][^`\n#|.;,()<]*)", text)
    ]
    assert len(asked) > 20
    wrong = {
        f"{name}: ./mmh {line}: {missing}"
        for name, line in asked
        if (missing := missing_from_cli(line.split()))
    }
    assert wrong == set()


def test_no_message_knows_the_program_by_one_name_only() -> None:
    # An installed package is called otherwise than a checkout.
    wrong = []
    for place in ("mmh_core", "views", "pages"):
        for path in sorted((ROOT / place).rglob("*.*")):
            if path.suffix not in (".py", ".html") or path.name == "installation.py":
                continue
            # Docstrings are read in the repository.
            code = re.sub(r'"""[^"]*"""|#.*', "", path.read_text())
            wrong += [f"{path.name}: {line}" for line in code.splitlines() if "./mmh" in line]
    assert wrong == []


def test_no_text_names_a_program_that_is_not_there() -> None:
    allowed = {"mmh_core/__main__.py", "mmh_core/retrieval/umap_layout.py"}
    wrong = [
        f"{name}: {text[max(0, match.start() - 30) : match.end() + 30]!r}"
        for name, text in told()
        if name not in allowed
        for match in WRONG.finditer(text)
        if "mmh_core only" not in text[match.start() :]
    ]
    assert wrong == []


IMAGES = ImageConfig("pocket-sd", ("a 'b'", "--c"), (1, 2), Sampling(5, 2.0, 64, 64))
MITIGATIONS = MitigationConfig(
    "pocket-sd",
    ("a", "b"),
    treatments=(Treatment("none", 0.0), Treatment("static_guidance", 0.5)),
    seeds=(1,),
    sampling=Sampling(steps=5, guidance=2.0, height=64, width=64),
)


@pytest.mark.parametrize(
    "line",
    [
        image_command(IMAGES, ("--index", "x", "--index-images", "y", "--embedder", "pixels")),
        image_command(
            replace(
                IMAGES,
                curve=False,
                estimators=("ess",),
                sampling=replace(IMAGES.sampling, negative="-x", windows=3),
            )
        ),
        mitigation_command(MITIGATIONS),
        manifold_command(default_config("circle")),
        re.findall("`(.*)`", str(no_calibration("a b", None, "calibrate NORMAL.txt")))[0],
        re.findall("`(.*)`", str(no_calibration("m", Path("x y"), "calibrate T --all")))[0],
    ],
    ids=lambda line: line[:30],
)
def test_commands_that_are_made_exist(line: str) -> None:
    words = shlex.split(line)
    assert words[0] == "./mmh"
    assert missing_from_cli(words[1:]) == ""


def test_a_calibration_that_was_named_is_told_from_none() -> None:
    named = str(no_calibration("m", Path("a b.safetensors"), "calibrate TABLE"))
    assert named.startswith("a b.safetensors has no calibration: make one with")
    assert "--model m --out 'a b.safetensors'`" in named
    unnamed = str(no_calibration("m", None, "calibrate TABLE", " of all detectors"))
    assert unnamed.startswith("m has no calibration of all detectors: make one with")
    assert "--model m --out FILE`" in unnamed
