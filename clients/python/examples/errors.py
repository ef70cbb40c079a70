"""What can go wrong, and what each error tells.

PROMPTMESH_URL=http://localhost:8080 PROMPTMESH_API_KEY=pm_… python errors.py
"""

import os

from promptmesh import (
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    Promptmesh,
    PromptmeshError,
    RateLimitedError,
    Retries,
    UnauthenticatedError,
)

url = os.environ.get("PROMPTMESH_URL", "http://localhost:8080")

with Promptmesh(url, api_key=os.environ["PROMPTMESH_API_KEY"], retries=Retries(attempts=5), timeout_s=20) as client:
    try:
        client.posts.get(post_id="00000000-0000-7000-8000-000000000000")
    except NotFoundError as error:
        print(error.reason, error.request_id != "")

    try:
        next(client.posts.list(tag="Not A Tag").pages())
    except InvalidArgumentError as error:
        print([(violation.field, violation.description) for violation in error.violations])

    try:
        next(client.auth.list_api_keys().pages())  # a key cannot manage keys
    except PermissionDeniedError as error:
        print(error.reason)

    try:
        print(client.inference.generate_text("Hello", model="no-such-model"))
    except RateLimitedError as error:
        print("come again in", error.retry_after_s, "seconds:", [one.description for one in error.quota])
    except PromptmeshError as error:  # everything else
        print(error.code, error.reason)

with Promptmesh(url, api_key="pm_wrong") as stranger:
    try:
        stranger.inference.generate_text("Hello")
    except UnauthenticatedError as error:
        print(error.reason)
