"""What the tests of pages share: a page in a new browser, what it shows, and runs that it kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

from streamlit.testing.v1 import AppTest

from mmh_core.store.archive import load_record
from mmh_core.studies.images.run import ImageRun
from views import session
from views.images.session import EXAMPLES

APP = Path(__file__).parents[2] / "app.py"
RunT = TypeVar("RunT")


def opened(page: str) -> AppTest:
    """Return a page of a new browser, not yet run.

    As a script of its own: under app.py the harness starts every run of it as if the server were
    fresh, and the page's guard then starts it again, which loses the click.
    """
    return AppTest.from_file(str(APP.parent / "pages" / f"{page}.py"), default_timeout=120)


def image_example(kind: str) -> ImageRun:
    """Return the finished example of a kind of prompt on the images page."""
    return load_record(EXAMPLES / f"{kind}.safetensors", ImageRun)


def sound(app: AppTest) -> AppTest:
    """Check that no traceback is on the page, and return it."""
    assert not app.exception
    assert "Something unexpected" not in said(app)
    return app


def said(app: AppTest) -> str:
    """Return all that the page says in its messages."""
    return " ".join(m.value for m in (*app.error, *app.warning, *app.info))


def unmarked(text: str) -> str:
    """Return what Markdown shows of escaped text."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text).replace("\u2060", "")


def captions(app: AppTest) -> str:
    """Return the captions of a page."""
    return " ".join(c.value for c in app.caption)


def pages_html(app: AppTest) -> str:
    """Return the HTML elements of a page."""
    return " ".join(element.value for element in app.get("html"))


def metrics(app: AppTest) -> dict[str, str]:
    """Return the figures of a page by their labels."""
    return {metric.label: metric.value for metric in app.metric}


def finished(app: AppTest, job: str, kind: type[RunT]) -> RunT:
    """Wait for a job, run the page again and return what was kept."""
    record = session.jobs().runner.wait(job, timeout=300)
    assert not record.is_active and record.error is None
    sound(app.run())
    return load_record(session.data_folder() / "runs" / str(record.result), kind)
