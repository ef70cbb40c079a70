"""Headers of the web app's pages, whoever makes them: the edge from its files, or the prompts service for a post."""

from __future__ import annotations

# No code, style or picture but the app's own files, no code or HTML made from text, nobody's frame: what somebody
# managed to write into a page would not run.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "connect")),
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
_UNUSED = ("camera", "display-capture", "geolocation", "microphone", "payment", "usb")
APP_HEADERS: tuple[tuple[str, str], ...] = (
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", ", ".join(f"{feature}=()" for feature in _UNUSED)),
)
PAGE_METHODS = ("/promptmesh.prompts.v1.PostService/GetPostPage",)
"""Methods whose answers are pages of the app."""
