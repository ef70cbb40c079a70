"""Stream an answer with coroutines, several at once, and stop one when it is enough.

PROMPTMESH_URL=http://localhost:8080 PROMPTMESH_API_KEY=pm_… python stream.py
"""

import asyncio
import os

from promptmesh import AsyncPromptmesh, StreamCutError, types


async def ask(client: AsyncPromptmesh, question: str) -> None:
    sampling = types.Sampling(temperature=0.2, max_output_tokens=200)
    message = types.Message(role=types.MESSAGE_ROLE_USER, content=question)
    try:
        async for event in client.inference.generate(messages=[message], sampling=sampling, timeout_s=60):
            if event.HasField("delta"):
                print(event.delta.text, end="", flush=True)
            elif event.HasField("usage"):
                print(f"\n{event.usage.input_tokens} + {event.usage.output_tokens} tokens")
    except StreamCutError:
        print("\nthe connection broke: what stands above is not all")


async def first_words(client: AsyncPromptmesh, question: str) -> str:
    message = types.Message(role=types.MESSAGE_ROLE_USER, content=question)
    async with client.inference.generate(messages=[message]) as events:  # leaving it stops the model
        async for event in events:
            if event.HasField("delta"):
                return event.delta.text
    return ""


async def main() -> None:
    url = os.environ.get("PROMPTMESH_URL", "http://localhost:8080")
    async with AsyncPromptmesh(url, api_key=os.environ["PROMPTMESH_API_KEY"]) as client:
        await ask(client, "Tell me about tulips.")
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(first_words(client, f"Count from {number}.")) for number in range(3)]
        print("first words:", [task.result() for task in tasks])


asyncio.run(main())
