"""The machine and the versions that the figures were taken on."""

import os
import platform
import re
from pathlib import Path

from .systems import SYSTEMS, NotAvailable


def machine() -> dict[str, str]:
    """Processor, memory, file system, Python."""
    kilobytes = int(_first(r"MemTotal:\s+(\d+)", "/proc/meminfo") or 0)
    return {
        "cores": f"{len(os.sched_getaffinity(0))} cores",
        "cpu": _first(r"model name\s*:\s*(.+)", "/proc/cpuinfo") or platform.machine(),
        "memory": f"{kilobytes / 2**20:.0f} GB",
        "data": f"data on {_file_system('/tmp')}",
        "load": f"load {os.getloadavg()[0]:.1f} before",
        "python": f"Python {platform.python_version()}",
    }


def available(names: list[str]) -> tuple[dict[str, str], list[str]]:
    """Versions of the systems that are installed, and a note for each that is not."""
    versions, notes = {}, []
    for name in names:
        try:
            versions[name] = SYSTEMS[name].version()
        except NotAvailable as error:
            notes.append(f"{name}: not available here. {error}")
    return versions, notes


def _first(pattern: str, path: str) -> str | None:
    try:
        found = re.search(pattern, Path(path).read_text())
    except OSError:
        return None
    return found and found[1].strip()


def _file_system(path: str) -> str:
    """The type of the file system that holds the path; figures from tmpfs would mean nothing."""
    best = ("", "unknown")
    try:
        for line in Path("/proc/mounts").read_text().splitlines():
            _, point, kind, *_ = line.split()
            if path.startswith(point) and len(point) >= len(best[0]):
                best = (point, kind)
    except OSError:
        pass
    return best[1]
