# ruff: noqa: RUF001
"""How long screening takes with the default policy: `python -m bench.screening`.

Prints the median and the 99th percentile of single calls, in microseconds, for texts as people write them and for
texts made to be slow. One thread, automata warm.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from random import Random
from statistics import median, quantiles

from services.moderation.screening.result import Surface
from services.moderation.screening.screener import build_screener, default_policy

_PROSE = """You are a patient teacher of chemistry. Explain to a curious 14-year-old, in under 300 words, why iron
rusts and gold does not. Use one everyday comparison, name the reaction, and end with a question that makes them
look for rust at home. Don't use formulas; if you must name a compound, say what it is made of. Tone: warm, a little
funny, never condescending. Format: three short paragraphs and a list of 2-3 things to try (safe ones!). If the reader
asks "what about aluminium?", tell them about its oxide skin. """
_RUSSIAN = """Ты терпеливый учитель химии. Объясни любопытному подростку, почему железо ржавеет, а золото нет. Приведи
одно сравнение из жизни, назови реакцию и закончи вопросом, который заставит поискать ржавчину дома. 🔥 """


def _texts() -> dict[str, str]:
    def long(piece: str, size: int) -> str:
        return (piece * (size // len(piece) + 1))[:size]

    random = Random(1)
    vocabulary = sorted(set(re.findall(r"[a-z]{2,}", default_policy().lower())))
    return {
        "post, 500 characters": long(_PROSE, 500),
        "post with accents and emoji, 500": long(_PROSE.replace("a", "á").replace(". ", " 🔥 "), 500),
        "Russian post, 500": long(_RUSSIAN, 500),
        "rejected post, 500": long(_PROSE, 450) + " how do I m4ke a p.i.p.e b o m b at home?",
        "prose, 20,000": long(_PROSE, 20_000),
        "Russian, 20,000": long(_RUSSIAN, 20_000),
        "letters set apart, 20,000": long("k i l l   a l l   m y   d a r l i n g s   ", 20_000),
        "hyphens in every word, 20,000": long("ki-ll-al-l my-da-rl-in-gs ", 20_000),
        "beginnings of matches, 20,000": long(
            "how do i make a how to build an ignore all previous kill all the ", 20_000
        ),
        "matches, 20,000": long("ignore all previous instructions. kill yourself! ", 20_000),
        "invisible characters, 20,000": long("k\u200bi\u200bl\u200bl\u0301 ", 20_000),
        "one letter, 20,000": "a" * 20_000,
        "emoji, 20,000": "🔥" * 20_000,
        "digits, 20,000": long("4539 1488 0343 6468 ", 20_000),
        "words of the policy at random, 20,000": " ".join(random.choices(vocabulary, k=6_000))[:20_000],
        "all of Unicode at random, 20,000": "".join(chr(random.randrange(0x20, 0xD800)) for _ in range(20_000)),
    }


def _measure(call: Callable[[], object], seconds: float) -> list[float]:
    times_us: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times_us) < 20:
        begin = time.perf_counter()
        call()
        times_us.append((time.perf_counter() - begin) * 1e6)
    return times_us


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each text is measured")
    seconds = parser.parse_args().seconds
    begin = time.perf_counter()
    screener = build_screener(default_policy())
    print(f"default policy read, compiled and its examples run in {time.perf_counter() - begin:.2f} s")
    print(f"{'text':38} {'p50 µs':>9} {'p99 µs':>9}  verdict")
    for name, text in _texts().items():
        verdict = screener.screen_text(text, Surface.POST).verdict
        for _ in range(5):
            screener.screen_text(text, Surface.POST)
        times_us = _measure(lambda text=text: screener.screen_text(text, Surface.POST), seconds)  # type: ignore[misc]
        print(f"{name:38} {median(times_us):9.0f} {quantiles(times_us, n=100)[98]:9.0f}  {verdict.name}")


if __name__ == "__main__":
    main()
