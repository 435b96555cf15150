"""JSON of the database on lines of its own, each number as it was written."""

MAX_INDENTED_LEVELS = 12


def indented(text: str) -> str:
    """The text with a line for each value. The text may end anywhere, as one that was cut does."""
    told: list[str] = []
    level = 0
    is_in_string = is_escaped = False
    for place, char in enumerate(text):
        if is_in_string:
            told.append(char)
            is_in_string = is_escaped or char != '"'
            is_escaped = char == "\\" and not is_escaped
        elif char in "}]":
            level -= 1
            told.append(char if text[place - 1] in "{[" else _line(level) + char)
        elif char in "{[":
            level += 1
            is_empty = text[place + 1 : place + 2] in ("}", "]")
            told.append(char if is_empty else char + _line(level))
        elif char == ",":
            told.append(char + _line(level))
        elif char != " " or text[place - 1] == ":":
            told.append(char)
            is_in_string = char == '"'
    return "".join(told)


def _line(level: int) -> str:
    return "\n" + "  " * min(level, MAX_INDENTED_LEVELS)
