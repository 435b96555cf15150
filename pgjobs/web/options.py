"""What the program sets beside who may do what: links to its own pages, and what it redacts."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import quote

from pgjobs.errors import InvalidArgument

log = logging.getLogger("pgjobs.web")

# Given the job's type, the name of the text (payload, result, error, progress or headers) and the
# text, which may be the beginning of a longer one; returns the text that is shown.
Redact: TypeAlias = Callable[[str, str, str], str]

HIDDEN = "(hidden: the program's redact did not see this text, or failed on it)"
# So many characters more than are shown are redacted, because a text that is cut within a secret
# no longer looks like one.
REDACTED_BEYOND_CHARS = 1_000
_LINK_BEGINNINGS = ("http://", "https://", "/")


@dataclass(frozen=True)
class Options:
    """``links``: an address for each type of a reference, with ``{id}``. ``redact``: a hook."""

    links: Mapping[str, str] = field(default_factory=dict)
    redact: Redact | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.links, Mapping):
            raise InvalidArgument(f"links must be a dict, not {self.links!r:.100}")
        for kind, template in self.links.items():
            if not isinstance(kind, str) or not isinstance(template, str):
                raise InvalidArgument(
                    f"links must map types of references to addresses, not {kind!r:.100} to"
                    f" {template!r:.100}"
                )
            if not template.startswith(_LINK_BEGINNINGS):
                raise InvalidArgument(
                    f"the link of {kind!r:.100} must start with http://, https:// or /, not be"
                    f" {template!r:.100}"
                )
        if self.redact is not None and not callable(self.redact):
            raise InvalidArgument(
                f"redact must be a function of a type, a name and a text, not {self.redact!r:.100}"
            )

    def own_page(self, kind: str | None, entity: str | int | None) -> str | None:
        """The program's page about an entity, if it has named one for entities of this type."""
        if kind is None or entity is None or kind not in self.links:
            return None
        return self.links[kind].replace("{id}", quote(str(entity), safe=""))

    def redacted(
        self, job_type: str, name: str, text: str | None, max_chars: int | None = None
    ) -> str | None:
        """The text as it may be shown, cut after ``max_chars``; hidden where the hook fails."""
        if text is not None and self.redact is not None:
            try:
                text = self.redact(job_type, name, text)
                if not isinstance(text, str):
                    raise TypeError(f"redact must return a string, not a {type(text).__name__}")
            except Exception:
                log.exception("redact failed on the %s of a job of type %r", name, job_type)
                return HIDDEN
        return text if text is None or max_chars is None else text[:max_chars]
