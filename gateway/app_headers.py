"""Headers of the web app's pages, whoever makes them: the edge from its files, or the prompts service for a post."""

from __future__ import annotations

# Nothing inline, nothing from elsewhere: what somebody managed to write into a page would not run.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "font", "connect", "manifest", "worker")),
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
APP_HEADERS: tuple[tuple[str, str], ...] = (
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
)
PAGE_METHODS = ("/promptmesh.prompts.v1.PostService/GetPostPage",)
"""Methods whose answers are pages of the app."""
