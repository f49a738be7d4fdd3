"""What mkdocs calls while it builds the site: pages made from the code, and tables made anew."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

#: What a browser loads by itself, from elsewhere.
_LOADED = re.compile(
    r"""<(?:script|img|iframe)[^>]*\ssrc="?(?:https?:)?//[^">]*|"""
    r"""<link(?![^>]*rel="?canonical)[^>]*\shref="?(?:https?:)?//[^">]*"""
)
_ROOT = Path(__file__).resolve().parents[2]
if str(_ROOT) not in sys.path:
    sys.path.insert(0, str(_ROOT))


def on_files(files: Any, *, config: Any) -> Any:
    """Add the pages that are made from the code."""
    from mkdocs.structure.files import File

    from docs.scripts.pages import PAGES

    for address, make in PAGES.items():
        files.append(File.generated(config, address, content=make()))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Return the page with its tables of results made anew."""
    from docs.scripts.results import filled

    return filled(markdown)


def on_post_build(*, config: Any) -> None:
    """Refuse a site that loads anything from a network. Errors: SystemExit."""
    for page in sorted(Path(config["site_dir"]).rglob("*.html")):
        found = _LOADED.search(page.read_text())
        if found:
            raise SystemExit(f"{page} would load {found[0]!r} from a network.")
