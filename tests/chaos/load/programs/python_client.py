"""The official Python client, told by lines of JSON on standard input what to do; it answers by lines on its output.

`python python_client.py URL`, in an environment that has the client and nothing of the servers.
Asked: {"id", "as": {"key"} | {"email", "password"} | {}, "do": "call" | "watch" | "generate" | "stop", …}.
Answered: {"id", "ok"} | {"id", "error": {"code", "reason", "message"}} | {"id", "event"} of a stream.
"""

import asyncio
import json
import sys
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from promptmesh import (  # type: ignore[attr-defined]  # the installed client, not the stubs of the contracts
    AsyncPromptmesh,
    PromptmeshError,
    StreamCutError,
    types,
)

Json = dict[str, Any]

tasks: dict[int, asyncio.Task[None]] = {}
clients: dict[str, AsyncPromptmesh] = {}


def say(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def client_of(url: str, credential: Json) -> AsyncPromptmesh:
    name = json.dumps(credential, sort_keys=True)
    if name not in clients:
        clients[name] = AsyncPromptmesh(
            url,
            api_key=credential.get("key"),
            email=credential.get("email"),
            password=credential.get("password"),
        )
    return clients[name]


def as_json(message: Message) -> Json:
    return json_format.MessageToDict(message, always_print_fields_with_no_presence=True)


async def do(url: str, asked: Json) -> Json:
    client = client_of(url, asked["as"])
    method = getattr(getattr(client, asked["service"]), asked["python"])
    request = json_format.ParseDict(asked["fields"], getattr(types, asked["request"])())
    timeout_s = asked.get("timeout_s")
    match asked["do"]:
        case "call":
            if asked["python"].startswith("list_") or asked["python"] == "list":
                async for page in method(request, timeout_s=timeout_s).pages():
                    return {"page": [as_json(one) for one in page.posts]} if hasattr(page, "posts") else as_json(page)
            answer = await method(request, timeout_s=timeout_s)
            return {} if answer is None else as_json(answer)
        case "watch":
            async with method(request) as events:
                async for event in events:
                    say(id=asked["id"], event=as_json(event))
        case "generate":
            return await generate(method(request, timeout_s=timeout_s), asked)
    return {}


async def generate(stream: Any, asked: Json) -> Json:
    """Text and usage; `done` says whether the stream told that it is whole. Leaves after some words where asked to."""
    text, usage, done, started, leave_after = "", {}, {}, {}, asked.get("leave_after")
    deltas = 0
    async with stream as events:
        async for event in events:
            match event.WhichOneof("event"):
                case "started":
                    started = as_json(event.started)
                    text = "" if event.started.restarted else text
                case "delta":
                    text += event.delta.text
                    deltas += 1
                    if leave_after is not None and deltas > leave_after:
                        return {"left": True, "text": text}
                case "usage":
                    usage = as_json(event.usage)
                case "done":
                    done = as_json(event.done)
    return {"text": text, "usage": usage, "done": done, "started": started}


async def answer(url: str, asked: Json) -> None:
    try:
        say(id=asked["id"], ok=await do(url, asked))
    except StreamCutError as error:
        say(id=asked["id"], error={"code": "STREAM_CUT", "reason": "", "message": str(error)})
    except PromptmeshError as error:
        said = {"code": error.code, "reason": error.reason, "message": error.message}
        say(id=asked["id"], error=said | {"retry_after_s": getattr(error, "retry_after_s", None) or 0})
    except asyncio.CancelledError:
        say(id=asked["id"], ok={"stopped": True})
        raise
    except Exception as error:
        say(id=asked["id"], error={"code": "RAISED", "reason": type(error).__name__, "message": str(error)})
    finally:
        tasks.pop(asked["id"], None)


async def main(url: str) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        asked = json.loads(line)
        if asked["do"] == "stop":
            if asked["id"] in tasks:
                tasks[asked["id"]].cancel()
        else:
            tasks[asked["id"]] = asyncio.create_task(answer(url, asked))
    for task in list(tasks.values()):
        task.cancel()


asyncio.run(main(sys.argv[1]))
