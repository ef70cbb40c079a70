"""`promptmesh chat`: ask a model, and see the answer as it comes."""

from __future__ import annotations

import sys

import click
import grpc
from promptmesh.inference.v1 import inference_pb2, inference_pb2_grpc

from services.local.api import Api, ApiError, connected, explain
from services.local.data_folder import DataFolder
from services.local.interrupts import EXIT_INTERRUPTED
from services.local.options import data_option, text_or_stdin

NANOS_PER_DOLLAR = 1_000_000_000


@click.command(short_help="Ask a model, and see the answer as it comes.")
@click.argument("text", required=False)
@click.option(
    "--model", default="", help="Model to ask, by its name in `GET /api/v1/models`. [default: the default one]"
)
@click.option("--system", help="Instructions that stand above the conversation.")
@data_option
def chat(text: str | None, model: str, system: str | None, data: DataFolder) -> None:
    """Ask a model TEXT (without it: what standard input says). Ctrl-C ends the call, up to the provider."""
    content = text_or_stdin(text, "what to ask")
    messages = [inference_pb2.Message(role=inference_pb2.MESSAGE_ROLE_USER, content=content)]
    if system is not None:
        messages.insert(0, inference_pb2.Message(role=inference_pb2.MESSAGE_ROLE_SYSTEM, content=system))
    with connected(data) as api:
        _stream(api, inference_pb2.GenerateRequest(messages=messages, model=model))


def _stream(api: Api, request: inference_pb2.GenerateRequest) -> None:
    call = inference_pb2_grpc.InferenceServiceStub(api.channel).Generate(request, metadata=api.metadata)
    model, usage, ended, last = "", None, False, "\n"

    def end_line() -> None:
        if last != "\n":
            click.echo()

    try:
        for message in call:
            match message.WhichOneof("event"):
                case "started":
                    model = message.started.model
                case "delta":
                    sys.stdout.write(message.delta.text)
                    sys.stdout.flush()
                    last = message.delta.text[-1:] or last
                case "usage":
                    usage = message.usage
                case "error":
                    end_line()
                    raise ApiError(f"{message.error.message} ({message.error.reason})")
                case "done":
                    ended = True
    except KeyboardInterrupt:
        end_line()
        click.echo("Cancelled.", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    except grpc.RpcError as error:
        end_line()
        raise explain(error) from error
    finally:
        call.cancel()  # type: ignore[no-untyped-call]
    end_line()
    if not ended:
        raise ApiError("The answer was cut: the stream ended without saying so. Ask again.")
    if usage is not None:
        click.echo(f"({model}; {_usage(usage)})", err=True)


def _usage(usage: inference_pb2.Usage) -> str:
    cost = f"${usage.cost_nanos / NANOS_PER_DOLLAR:.6f}" if usage.HasField("cost_nanos") else "price unknown"
    estimated = ", estimated" if usage.estimated else ""
    return f"{usage.input_tokens} tokens in, {usage.output_tokens} out{estimated}; {cost}"
