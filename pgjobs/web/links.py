"""Links within the console: paths only, so that they hold behind each prefix and proxy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode


@dataclass(frozen=True)
class Links:
    """Makes links below the prefix at which the console is mounted.

    A name of a queue or a type stands in the query, never in the path: browsers take ``..`` in
    a path for the folder above, also when it is percent-encoded.
    """

    prefix: str

    @classmethod
    def below(cls, root_path: str) -> "Links":
        """The links below ``scope["root_path"]``; two slashes would begin another host's name."""
        stripped = root_path.strip("/")
        return cls(f"/{quote(stripped, safe='/')}" if stripped else "")

    def to(self, path: str, **query: object) -> str:
        """Returns the link to a path of the console; a part of the query that is None is left out.

        The value of a part may be a list: then the part is repeated.
        """
        return self.with_query(path, {
            name: value if isinstance(value, list) else [str(value)]
            for name, value in query.items()
            if value is not None
        })

    def with_query(self, path: str, query: Mapping[str, Sequence[str]]) -> str:
        """Returns the link to a path with these parts of the query."""
        told = urlencode({k: list(v) for k, v in query.items() if v}, doseq=True, quote_via=quote)
        return f"{self.prefix}{quote(path)}" + (f"?{told}" if told else "")
