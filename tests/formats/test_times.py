"""Times as texts: written in UTC in files, in the local time zone on screens."""

from __future__ import annotations

import time

import pytest

from mmh_core.formats.times import local_minute, utc_minute, utc_second

#: 2001-09-09 01:46:40 UTC, the billionth second.
BILLIONTH = 1e9


def test_a_time_in_a_file_is_in_utc() -> None:
    assert utc_second(BILLIONTH + 0.9) == "2001-09-09T01:46:40Z"
    assert utc_minute(BILLIONTH) == "2001-09-09 01:46 UTC"


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone cannot be set here")
def test_a_time_on_a_screen_is_in_the_time_zone_of_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "XXX-05:30")  # East of Greenwich by 5 h 30 min.
    time.tzset()
    try:
        assert local_minute(BILLIONTH) == "2001-09-09 07:16"
        assert utc_minute(BILLIONTH) == "2001-09-09 01:46 UTC"
    finally:
        monkeypatch.undo()
        time.tzset()
