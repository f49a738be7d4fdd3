"""The results of a run in files that stand alone: a page, a zip, a command, numbers as JSON."""

from mmh_core.report.command import image_command
from mmh_core.report.folder import run_files, run_zip
from mmh_core.report.images import image_report
from mmh_core.report.queue_case import read_case
from mmh_core.report.queues import queue_report
from mmh_core.report.summary import run_summary

__all__ = [
    "image_command",
    "image_report",
    "queue_report",
    "read_case",
    "run_files",
    "run_summary",
    "run_zip",
]
