"""A moderation policy: a YAML file of rules, read whole, with every fault named by its place.

    version: 2026-01-15          # shown with every finding
    exceptions:                  # for all rules: what lies inside one of these is not a finding
      words: [Scunthorpe]
    rules:
      - name: threats            # unique
        category: harassment/threatening
        severity: 0.9            # 0 to 1, the finding's score
        action: hold             # allow, hold or reject
        surfaces: [post, output] # left out: all of post, output and input
        read: disguised          # as_sent | folded | disguised (left out)
        words: [some phrase, stem*]
        patterns: ['\\bi will (?:kill|stab) you\\b']
        detectors: [{name: card_number, at_least: 1}]
        exceptions: {patterns: ['\\bkill you with kindness\\b']}
        message: What the author is told.
        examples: {caught: [I will stab you], allowed: [kill the process]}

`read` says how a text is looked at (`normalise.py`): `as_sent` where case and every character count (keys), `folded`
without differences of case, look-alikes and invisible characters (numbers), `disguised` in all readings (words).
Examples are run when the policy is read: a rule that misses what it is for never goes into service.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.moderation.screening import patterns
from services.moderation.screening.detectors import DETECTORS
from services.moderation.screening.linear import PatternError
from services.moderation.screening.policy_text import Fault, Place, PolicyError, load, read_model
from services.moderation.screening.result import CATEGORY_NAMES, Category, Surface, Verdict

MAX_RULES = 500
MAX_ENTRIES = 2_000  # words or patterns of one list
MAX_EXAMPLES = 100

SURFACES = {"post": Surface.POST, "output": Surface.OUTPUT, "input": Surface.INPUT}
ACTIONS = {"allow": Verdict.ALLOW, "hold": Verdict.HOLD, "reject": Verdict.REJECT}

Entry = Annotated[str, StringConstraints(min_length=1)]
Entries = Annotated[tuple[Entry, ...], Field(max_length=MAX_ENTRIES)]
Examples = Annotated[tuple[Entry, ...], Field(max_length=MAX_EXAMPLES)]
Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")]
RuleName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExceptionSpec(_Strict):
    """What is no finding although a rule matches inside it."""

    words: Entries = ()
    patterns: Entries = ()


class ExamplesSpec(_Strict):
    """Texts that the rule must and must not find something in."""

    caught: Examples = ()
    allowed: Examples = ()


class DetectorSpec(_Strict):
    """A built-in detector, and how much of what it counts is enough (left out: its own number)."""

    name: str
    at_least: Annotated[int, Field(ge=1, le=100_000)] | None = None


class RuleSpec(_Strict):
    """One rule, as written."""

    name: RuleName
    category: str
    severity: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    action: Literal["allow", "hold", "reject"]
    surfaces: Annotated[tuple[Literal["post", "output", "input"], ...], Field(min_length=1)] = (
        "post",
        "output",
        "input",
    )
    read: Literal["as_sent", "folded", "disguised"] = "disguised"
    words: Entries = ()
    patterns: Entries = ()
    detectors: Annotated[tuple[DetectorSpec, ...], Field(max_length=16)] = ()
    exceptions: ExceptionSpec = ExceptionSpec()
    message: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    examples: ExamplesSpec = ExamplesSpec()

    @property
    def category_number(self) -> Category:
        """The category in the contract."""
        return CATEGORY_NAMES[self.category]

    @property
    def verdict(self) -> Verdict:
        """What the rule alone decides."""
        return ACTIONS[self.action]

    def applies_to(self, surface: Surface) -> bool:
        """Whether the rule looks at texts of the surface; all rules look at a text that does not say what it is."""
        return surface is Surface.UNSPECIFIED or any(SURFACES[name] is surface for name in self.surfaces)


class PolicySpec(_Strict):
    """A whole policy, as written."""

    version: Label
    exceptions: ExceptionSpec = ExceptionSpec()
    rules: Annotated[tuple[RuleSpec, ...], Field(min_length=1, max_length=MAX_RULES)]


def parse_policy(text: str, source: str = "policy") -> PolicySpec:
    """Reads a policy from YAML. Raises PolicyError, which names every fault by place and line."""
    loaded = load(text, source)
    spec, shape = read_model(PolicySpec, loaded)
    faults = shape + _meaning(loaded.value)
    if spec is None or faults:
        raise PolicyError(source, loaded.in_order(faults))
    return spec


def _meaning(policy: dict[str, Any]) -> list[Fault]:
    """Faults that the models cannot see. Looks at what has the right shape, so that both kinds are told at once."""
    faults = _entry_faults(("exceptions",), policy.get("exceptions"), as_sent=False)
    names: dict[str, int] = {}
    for number, rule in enumerate(_list(policy.get("rules"))):
        if not isinstance(rule, dict):
            continue
        place = ("rules", number)
        name, category = rule.get("name"), rule.get("category")
        if isinstance(name, str) and names.setdefault(name, number) != number:
            faults.append(Fault((*place, "name"), f"{name!r} is the name of rules[{names[name]}] too"))
        if isinstance(category, str) and category not in CATEGORY_NAMES:
            known = ", ".join(CATEGORY_NAMES)
            faults.append(Fault((*place, "category"), f"{category!r} is no category; expected one of {known}"))
        if not (rule.get("words") or rule.get("patterns") or rule.get("detectors")):
            faults.append(Fault(place, "looks for nothing: give it words, patterns or detectors"))
        as_sent = rule.get("read") == "as_sent"
        faults += _entry_faults(place, rule, as_sent=as_sent)
        faults += _entry_faults((*place, "exceptions"), rule.get("exceptions"), as_sent=as_sent)
        for index, detector in enumerate(_list(rule.get("detectors"))):
            called = detector.get("name") if isinstance(detector, dict) else None
            if isinstance(called, str) and called not in DETECTORS:
                known = ", ".join(DETECTORS)
                where = (*place, "detectors", index, "name")
                faults.append(Fault(where, f"{called!r} is no detector; expected one of {known}"))
    return faults


def _entry_faults(place: Place, holder: object, *, as_sent: bool) -> list[Fault]:
    """Faults of the words and patterns that a rule or a list of exceptions holds."""
    if not isinstance(holder, dict):
        return []
    faults: list[Fault] = []
    words = _list(holder.get("words"))
    if as_sent and words:
        faults.append(Fault((*place, "words"), "words are compared without case, and `read: as_sent` counts case"))
        words = []
    for name, entries, compile_entry in (
        ("words", words, patterns.for_phrase),
        ("patterns", _list(holder.get("patterns")), patterns.as_written if as_sent else patterns.for_folded),
    ):
        for index, entry in enumerate(entries):
            if not isinstance(entry, str) or not entry:
                continue
            try:
                compile_entry(entry)
            except PatternError as error:
                faults.append(Fault((*place, name, index), f"{entry!r} {error}"))
    return faults


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
