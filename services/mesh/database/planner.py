"""How PostgreSQL plans a service's statements: from indexes, always.

Every statement of a service finds its rows through an index, by design. The planner cannot know that: on a table that
has no statistics yet, or had few rows when a prepared statement's plan was made, it prefers to read the whole table,
and keeps that plan while the table grows (seen: the feed's first page took 25 ms at 900 posts, and grew with them).
These settings make it see such plans as expensive; where there is no other way, it still takes them.
"""

from __future__ import annotations

PLANNER_SETTINGS = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
