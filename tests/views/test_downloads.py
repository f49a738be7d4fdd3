"""Buttons that save a file."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from views.widgets import downloads


def script() -> None:
    from views.widgets import downloads

    downloads.offer("Table", "figures.csv", b"a,b\n", "one", help="All rows")
    downloads.offer("Everything", "run 1.zip", lambda: b"PK", "two")


def test_a_button_per_file_named_by_its_label() -> None:
    app = AppTest.from_function(script).run()
    assert not app.exception
    found = [button.proto for button in app.get("download_button")]
    assert [each.label for each in found] == ["Table", "Everything"]
    assert [each.icon for each in found] == [":material/download:", ":material/folder_zip:"]
    assert found[0].help == "All rows"
    # A click saves and does not run the page again.
    assert all(each.ignore_rerun for each in found)


def test_an_unknown_ending_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Unknown kind of file 'run\.exe'"):
        downloads.offer("Run", "run.exe", b"", "key")
