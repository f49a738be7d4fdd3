"""Write the functions of the Python API into their page of the documentation, from docstrings.

`python docs/scripts/python_api.py` writes the page anew; a test compares it.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "python.md"
_MARKED = re.compile(r"(<!-- functions -->\n).*(<!-- end of functions -->)", re.DOTALL)


def filled(text: str) -> str:
    """Return a page with the functions between its marks made anew."""
    return _MARKED.sub(lambda marks: f"{marks[1]}\n{sections()}\n{marks[2]}", text)


def sections() -> str:
    """Return a section for each function of the API, in the order of the file."""
    import mmh_core

    found = [getattr(mmh_core, name) for name in mmh_core.__all__]
    functions = [one for one in found if inspect.isfunction(one)]
    functions.sort(key=lambda one: one.__code__.co_firstlineno)
    return "\n".join(section(one) for one in functions)


def section(function: Callable[..., object]) -> str:
    """Return the section of one function: signature, docstring, example."""
    text, mark, example = (inspect.getdoc(function) or "").partition(">>> ")
    name = function.__name__
    return (
        f"### {name}\n\n```python-signature\n{name}{signature(function)}\n```\n\n"
        f"{text.strip()}\n\n```pycon\n{mark}{example.strip()}\n```\n"
    ).replace("```python-signature", "```text")


def signature(function: Callable[..., object]) -> str:
    """Return the parameters and what is returned, one a line where a line is too short."""
    found = inspect.signature(function)
    line = _plain(str(found))
    if len(line) <= 72:
        return line
    parts: list[str] = []
    starred = False
    for one in found.parameters.values():
        if one.kind is one.KEYWORD_ONLY and not starred:
            parts, starred = [*parts, "*"], True
        parts.append(_plain(str(one)))
    inside = "".join(f"    {part},\n" for part in parts)
    return f"(\n{inside}) -> {_plain(str(found.return_annotation))}"


def _plain(text: str) -> str:
    """Return annotations as they are written, without quotes around them."""
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", text).replace("_OnProgress", "OnProgress")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    PAGE.write_text(filled(PAGE.read_text()))
