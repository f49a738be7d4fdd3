"""All files of a run, and one zip of them: equal runs give equal bytes."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping

from mmh_core.formats.export import frame_csv
from mmh_core.report.image_files import about_of, png_bytes
from mmh_core.report.images import image_report
from mmh_core.report.summary import run_summary
from mmh_core.studies.images.run import ImageRun

FIGURES, PAGE, TABLE = "run.json", "report.html", "images.csv"
#: The earliest date that a zip can hold.
_DATE = (1980, 1, 1, 0, 0, 0)


def run_files(run: ImageRun, command: str) -> dict[str, bytes]:
    """Return the files of a run by name: images, figures, the page, and the table.

    Images are `NNN-seed-S.png` and carry their settings; `command` is the line that draws the
    run again.
    """
    files = {
        f"{one.index:03d}-seed-{one.seed}.png": png_bytes(one.image, about_of(run, one))
        for one in run.images
    }
    # ASCII escapes keep whatever a caption of somebody's index may hold.
    figures = json.dumps(run_summary(run) | {"command": command}, indent=2, allow_nan=False)
    files[FIGURES] = (figures + "\n").encode()
    files[PAGE] = image_report(run, command).encode()
    files[TABLE] = frame_csv(run.frame())
    return files


def run_zip(run: ImageRun, command: str) -> bytes:
    """Return a zip of `run_files`."""
    return zipped(run_files(run, command))


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return a zip of files, in their order, with one fixed date and readable by anybody."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.external_attr = 0o644 << 16
            # Images are compressed already.
            packed = not name.endswith(".png")
            entry.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
            archive.writestr(entry, data, compresslevel=6 if packed else None)
    return file.getvalue()
