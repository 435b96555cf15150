"""Values as PostgreSQL reads them: right in type, and as strange as the type allows."""

import json

from hypothesis import strategies as st

# Large values are drawn as names, so that a report is readable; `written_out` replaces the names.
LONG, MEGABYTE, DEEP, HUGE = "<513 bytes>", "<a megabyte>", "<deep>", "<20,000 times>"

ELEMENTS = {
    "bigint": ["0", "-1", "9223372036854775807", "-9223372036854775808"],
    "integer": ["0", "1", "-1", "9", "-9", "10", "2147483647", "-2147483648"],
    "text": [
        "", LONG, "é" * 300, MEGABYTE, "'; drop table jobs; --", "%s %I %%", "\\", "null", " ",
    ],
    "interval": [
        "0", "1 minute", "-1 second", "100 years", "1000 years 1 day", "178000000 years",
        "-178000000 years", "-290000 years 104400001 days", "290000 years -104399999 days",
        "1 month -30 days", "1 month -31 days", "infinity", "-infinity",
    ],
    "timestamp with time zone": [
        "infinity", "-infinity", "4713-01-01 BC", "0001-01-01 00:00:00+00", "294276-12-31",
        "9999-12-31 23:59:59.999999+00", "10000-01-01", "epoch", "2000-01-01", "now", "tomorrow",
    ],
    "boolean": ["true", "false"],
    "jsonb": ["{}", "[]", "null", "1", '"x"', "1e400", "-0.0", DEEP, f'"{MEGABYTE}"', '{"": null}'],
    "json": ["{}", "[]", "null", "1", '"x"', "1e400", DEEP, "[[]]", '[["q","t","completed",1]]'],
}

TAME = {
    "json": "[]", "bigint": "1", "integer": "1", "text": "t", "interval": "1 minute", "jsonb": "{}",
    "timestamp with time zone": "2030-01-01", "boolean": "true",
}

# Valid values by argument: now and then a call must get past the first check.
KNOWN = {
    "job_id": [str(i) for i in range(1, 10)],
    "worker": ["w", "v"],
    "sparing": ["w"],
    "attempt": ["1"],
    "queue": ["default"],
    "job_type": ["t"],
    "unique_key": ["k"],
    "unique_scope": ["live", "kept", "pending", "period"],
    "on_conflict": ["return", "raise", "replace", "debounce"],
    "priority": ["0", "9"],
    "max_retries": ["0", "3"],
    "lease": ["1 minute"],
    "older_than": ["0"],
    "job_ids": [str(i) for i in range(1, 10)],
    "attempts": ["1"],
    "queues": ["default", "other"],
    "job_types": ["t"],
    "known_ids": ["1", "2"],
    "statuses": ["completed", "failed", "cancelled"],
    "as_what": ["producer"],
    "role_name": ["nobody"],
    "name": ["nightly"],
    "cron": ["0 3 * * *"],
    "timezone": ["UTC", "Europe/Berlin"],
    "missed": ["latest", "all", "none"],
    "overlap": ["skip", "allow", "replace"],
    "ticks": ["5"],
    "schedules": ['[{"name": "nightly", "job_type": "t", "cron": "@daily"}]'],
    "group_key": ["g"],
    "concurrency": ["1"],
}

FLOORS = [
    "{}", "[]", "1", '"x"', '{"default": 1}', '{"default": {"x": "2000-01-01"}}',
    '{"default": {"0": "x"}}', '{"default": {"0": 5}}', '{"default": {"99999999999": "x"}}',
    '{"default": {"0": "-infinity"}}', '{"default": {"0": null}}', '{"default": [0]}',
    '{"other": {"0": "2000-01-01"}}', '{"default": {"42": "2000-01-01"}}',
]


def json_value(name: str) -> st.SearchStrategy[object]:
    """A value for this key of an object in the array of jobs_enqueue_many."""
    plain = [*KNOWN.get(name, []), "", LONG, "infinity", "-1", "now", "4713-01-01 BC", "x", "1e9"]
    numbers = st.sampled_from([0, -1, 1.5, 7, 10**30, True])
    delays = st.lists(
        st.sampled_from(["1 s", "-1 s", "178000000 years", "-290000 years 104400001 days", "x", 5]),
        max_size=3,
    )
    deep = st.sampled_from([[[1]], [[[[[[[["1 s"]]]]]]]], {"a": []}, [None], [["1 s"], ["2 s"]]])
    return st.none() | st.sampled_from(plain) | numbers | delays | deep


def written_out(text: str | None) -> str | None:
    """The text, with the large values in place of their names."""
    if text is None:
        return None
    if text.startswith(HUGE):
        text = f"{{{','.join([text.removeprefix(HUGE)] * 20_000)}}}"
    text = text.replace(LONG, "x" * 513).replace(MEGABYTE, "y" * 1_000_000)
    return text.replace(DEEP, "[" * 2000 + "]" * 2000)


KEYS = ["job_type", "payload", "queue", "priority", "run_at", "reference_type", "reference_id",
        "max_retries", "unique_key", "unique_scope", "backoff", "group_key", "headers",
        "expires_at", "on_conflict", "unique_for", "max_wait"]
OBJECTS = st.fixed_dictionaries(
    {"job_type": st.just("t") | json_value("job_type")},
    optional={key: json_value(key) for key in KEYS[1:]} | {"nonsense": st.just(1)},
)
BATCHES = st.one_of(
    st.sampled_from(ELEMENTS["jsonb"]),
    st.lists(OBJECTS, max_size=3).map(json.dumps),
    st.lists(st.integers() | st.none() | OBJECTS, max_size=3).map(json.dumps),
)


def scalar(name: str, type_name: str) -> st.SearchStrategy[str]:
    """The text of a value, often of a valid one."""
    strange = st.sampled_from(ELEMENTS[type_name])
    if type_name == "text":
        characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
        strange |= st.text(characters, max_size=9)
    return st.sampled_from(KNOWN[name]) | strange if name in KNOWN else strange


def quoted(element: str | None) -> str:
    if element is None:
        return "NULL"
    return '"' + element.replace("\\", "\\\\").replace('"', '\\"') + '"'


def literal(elements: list[str | None], form: str = "plain") -> str:
    """An array's text: a plain list, one that counts from 5, or one of two dimensions."""
    inner = ",".join(map(quoted, elements))
    if not elements or form == "plain":
        return f"{{{inner}}}"
    return f"[5:{4 + len(elements)}]={{{inner}}}" if form == "shifted" else f"{{{{{inner}}}}}"


def array(name: str, type_name: str, length: int | None) -> st.SearchStrategy[str]:
    element = scalar(name, type_name)
    if length is not None:
        lists = st.lists(element, min_size=length, max_size=length)
        return st.builds(literal, lists, st.sampled_from(["plain"] * 4 + ["shifted", "nested"]))
    huge = element.filter(lambda e: e != MEGABYTE).map(lambda e: HUGE + quoted(e))
    lists = st.lists(element | st.none(), max_size=4)
    return st.builds(literal, lists, st.sampled_from(["plain", "shifted", "nested"])) | huge


def wild(name: str, type_name: str, length: int | None) -> st.SearchStrategy[str | None]:
    """Any text for the argument, or null; an array may have a fixed length."""
    if name == "jobs":
        return st.none() | BATCHES
    if name == "floors":
        return st.none() | st.sampled_from(FLOORS)
    if type_name.endswith("[]"):
        return st.none() | array(name, type_name.removesuffix("[]"), length)
    return st.none() | scalar(name, type_name)


def tame(name: str, type_name: str, length: int) -> st.SearchStrategy[str | None]:
    """Text that an ordinary caller would give."""
    element_type = type_name.removesuffix("[]")
    known = st.sampled_from(KNOWN.get(name, [TAME[element_type]]))
    if name in ("jobs", "floors"):
        return st.just({"jobs": '[{"job_type": "t"}]', "floors": None}[name])
    if type_name == element_type:
        return known
    return st.lists(known, min_size=length, max_size=length).map(literal)


Values = dict[str, str | None]


def arguments(types: dict[str, str]) -> st.SearchStrategy[Values]:
    """Values for all arguments: one, two or all of them wild, the others tame."""

    def of(strange: set[str], length: int, same: bool) -> st.SearchStrategy[Values]:
        return st.fixed_dictionaries({
            name: wild(name, t, length if same else None) if name in strange
            else tame(name, t, length)
            for name, t in types.items()
        })

    some = st.sets(st.sampled_from(sorted(types)), min_size=1, max_size=2)
    return st.tuples(some | st.just(set(types)), st.integers(0, 3), st.booleans()).flatmap(
        lambda chosen: of(*chosen)
    )
