"""The Python client under a rolling restart: run where only its wheel is installed, until standard input ends."""

import asyncio
import json
import os
import sys
import uuid

from promptmesh import AsyncPromptmesh, PromptmeshError, Retries, types


async def main() -> None:
    """Calls one after the other; each may be made twice. Prints what that came to."""
    count = {"calls": 0, "streams": 0, "posts": []}
    failed: list[str] = []
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    message = types.Message(role=types.MESSAGE_ROLE_USER, content="Say it.")
    retries = Retries(attempts=2, first_wait_s=1.0)
    async with AsyncPromptmesh(
        os.environ["PROMPTMESH_URL"], api_key=os.environ["PROMPTMESH_API_KEY"], retries=retries
    ) as client:
        print("ready", flush=True)
        while not ended.done():
            try:
                async for _ in client.posts.list(page_size=100):
                    break
                made = await client.posts.create(
                    title="By the client", body="Write about a lighthouse.", request_id=str(uuid.uuid4())
                )
                count["posts"].append(made.post_id)
                async for _ in client.inference.list_models():
                    break
                count["calls"] += 3
            except PromptmeshError as error:
                failed.append(repr(error))
            said = ""
            for _ in range(2):  # a stream is its caller's to begin again, where nothing of it has come
                try:
                    async for event in client.inference.generate(model="fast", messages=[message]):
                        said += event.delta.text if event.HasField("delta") else ""
                    break
                except PromptmeshError as error:
                    if said or _ == 1:
                        failed.append(f"a stream after {len(said)} characters: {error!r}")
                        break
                    await asyncio.sleep(1)
            if said != os.environ["TEXT"]:
                failed.append(f"a stream said {said!r}")
            count["streams"] += 1
    print(json.dumps({**count, "failed": failed}), flush=True)


asyncio.run(main())
