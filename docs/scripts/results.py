"""Fill the tables and sentences of the documentation from the JSON that the benchmarks wrote.

    python docs/scripts/results.py

Between `<!-- table NAME -->` (or `<!-- sentences NAME -->`) and `<!-- end -->` stands what is made
from one or more files in `docs/results/data/`. Nothing else writes figures there. To renew them,
run the command that the page names with `--json docs/results/data/FILE`, then this.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script, from anywhere

from docs.scripts.sentences import SENTENCES
from docs.scripts.tables import TABLES

RESULTS = Path(__file__).resolve().parents[1] / "results"
DATA = RESULTS / "data"
PAGES = (*sorted(RESULTS.glob("*.md")), RESULTS.parent / "explanation" / "embedded-model.md")
_BLOCK = re.compile(r"(<!-- (table|sentences) ([a-z0-9-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, data: Path = DATA) -> str:
    """Return a page with its tables and sentences made anew. Errors: KeyError for unknown ones."""

    def made(block: re.Match[str]) -> str:
        makers = TABLES if block[2] == "table" else SENTENCES
        return f"{block[1]}\n{makers[block[3]](data)}\n\n{block[4]}"

    return _BLOCK.sub(made, text)


def blocks_of(text: str) -> list[tuple[str, str]]:
    """Return what is made in a page: "table" or "sentences", and the name."""
    return [(block[2], block[3]) for block in _BLOCK.finditer(text)]


def typed(text: str) -> str:
    """Return what of a page nothing makes."""
    return _BLOCK.sub("", text)


def main() -> None:
    """Fill every page."""
    for page in PAGES:
        page.write_text(filled(page.read_text()))


if __name__ == "__main__":
    main()
