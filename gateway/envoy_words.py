"""What Envoy's transcoder says of a request that it cannot read, in our words and without names of the inside.

The table becomes a part of `lua/responses.lua`. A pattern is Lua's, and is matched against the whole message as it
stands in JSON: a quote is `\\"`, a line feed `\\n` or `\\u000a`. The first row that matches counts. In the text `{1}`
is the pattern's first group as it is, and `{1:name}` the same as a name of JSON (`page_size` becomes `pageSize`).
"""

from __future__ import annotations

import json
from typing import NamedTuple


class Words(NamedTuple):
    """One row."""

    pattern: str
    text: str


# Google's field types, as the transcoder names them, and what a caller writes.
_KINDS = {
    "STRING": "a string",
    "BOOL": "true or false",
    "BYTES": "base64",
    "U?INT32": "a whole number of 32 bits",
    "S?INT32": "a whole number of 32 bits",
    "U?INT64": "a whole number of 64 bits",
    "S?INT64": "a whole number of 64 bits",
    "S?FIXED%d+": "a whole number",
    "DOUBLE": "a number",
    "FLOAT": "a number",
}
_UNREADABLE = "The request cannot be read as one of this method; GET / says what it takes."

TABLE: tuple[Words, ...] = (
    Words(r"^Could not find field \"(.-)\" in the type", 'The query parameter "{1}" is not known here.'),
    Words(r"^Encountered a non%-leaf field \"(.-)\"", 'The query parameter "{1}" has no fields below it.'),
    Words(
        ": invalid value Starting an object on a scalar field for type ([%w_]+)",
        "{1:name} has the wrong type: an object where one value is expected.",
    ),
    *(
        Words(
            rf"^(.-): invalid value (.*) for type TYPE_{kind}%f[^%w]",
            f"{{1:name}} has the wrong type: {{2}} where {text} is expected.",
        )
        for kind, text in _KINDS.items()
    ),
    Words(
        "^(.-): invalid value .* for type type%.googleapis%.com/google%.protobuf%.Timestamp",
        '{1:name} is not a time; write it as "2030-01-31T12:00:00Z".',
    ),
    Words(
        "^(.-): invalid value .* for type type%.googleapis%.com/google%.protobuf%.Duration",
        '{1:name} is not a duration; write it as "90s".',
    ),
    Words(
        "^(.-): invalid value (.*) for type type%.googleapis%.com/", "{1:name} cannot be {2}; GET / says what it takes."
    ),
    Words(
        "Proto field is not repeating, cannot start list",
        "A value has the wrong type: a list where one value is expected.",
    ),
    Words("Proto fields must have a name", "The body has a field without a name."),
    Words("Root element must be a message", "The body is not a JSON object."),
    Words("^Message too deep", "The body is nested too deeply."),
    Words("^Unexpected end of string", "The body is not JSON: unexpected end."),
    Words("^Closing quote expected", "The body is not JSON: a string has no closing quote."),
    Words("^Encountered non UTF%-8", "The body is not JSON: it is not UTF-8."),
    Words("^Missing low surrogate", "The body is not JSON: half of a surrogate pair in a string."),
    Words("^Parsing terminated before end of input", "The body is not JSON: more follows its end."),
    Words(r"^Expected (.-)%.\n", "The body is not JSON: expected {1}."),
    Words("^Number exceeds the range of double", "The body is not JSON as it is read here: a number is too large."),
    Words("^Unexpected token", "The body is not JSON: unexpected token."),
    Words("^Invalid escape sequence", "The body is not JSON: invalid escape in a string."),
    # What else there may be, if it tells of the inside.
    Words("promptmesh%.", _UNREADABLE),
    Words("TYPE_", _UNREADABLE),
    Words("type%.googleapis", _UNREADABLE),
    Words("^: ", _UNREADABLE),
)


def as_lua() -> str:
    """The table as Lua: a list of {pattern, text}, the text as it stands inside a string of JSON."""
    rows = (f"  {{{_quoted(row.pattern)}, {_quoted(json.dumps(row.text)[1:-1])}}}," for row in TABLE)
    return "\n".join(("{", *rows, "}"))


def _quoted(text: str) -> str:
    # For ASCII without control characters a string of JSON and one of Lua are the same.
    return json.dumps(text)
