"""What a handler reports while it runs."""

import json

from pgjobs.errors import InvalidArgument

MAX_NOTE_CHARACTERS = 1_000
MAX_NUMBER = 2**63


def progress_text(done: float, total: float | None, note: str | None) -> str:
    """The report as JSON text that the database takes, whatever is in the note."""
    for name, value in {"done": done, "total": 0 if total is None else total}.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not -MAX_NUMBER < value < MAX_NUMBER:  # NaN is nowhere between
            raise InvalidArgument(f"{name} must be a number, not {value!r:.100}")
    if note is not None and not isinstance(note, str):
        raise InvalidArgument(f"note must be a string, not {note!r}")
    report: dict[str, float | str] = {"done": done}
    if total is not None:
        report["total"] = total
    if note is not None:
        # The database stores neither NUL nor half of a surrogate pair.
        short = note[:MAX_NOTE_CHARACTERS].replace("\0", "\N{REPLACEMENT CHARACTER}")
        report["note"] = short.encode("utf-8", "replace").decode()
    return json.dumps(report)
