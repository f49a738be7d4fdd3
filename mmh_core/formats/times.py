"""Times of records as texts: in UTC in files and logs, in the clock of this machine on screens."""

from __future__ import annotations

import time


def utc_second(seconds: float) -> str:
    """Return a time in seconds since 1970 UTC as ISO 8601, such as 2026-01-31T09:05:07Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def utc_minute(seconds: float) -> str:
    """Return a time in seconds since 1970 UTC for a person, such as 2026-01-31 09:05 UTC."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def utc_clock(seconds: float) -> str:
    """Return the time of day of a time in seconds since 1970 UTC, such as 09:05 UTC."""
    return time.strftime("%H:%M UTC", time.gmtime(seconds))


def local_minute(seconds: float) -> str:
    """Return a time in seconds since 1970 UTC in this machine's time zone: 2026-01-31 10:05."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def local_clock(seconds: float) -> str:
    """Return the time of day of a time in seconds since 1970 UTC on this machine: 10:05:07."""
    return time.strftime("%H:%M:%S", time.localtime(seconds))
