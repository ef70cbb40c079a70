"""`promptmesh provider-keys`: credentials of providers, kept encrypted by the mesh."""

from __future__ import annotations

import json
import sys

import click
from google.protobuf import json_format
from promptmesh.inference.v1 import provider_keys_pb2, provider_keys_pb2_grpc

from services.local.api import CALL_TIMEOUT_S, connected, explained
from services.local.data_folder import DataFolder
from services.local.options import data_option, json_option


@click.group(short_help="Keep the keys of providers.")
def provider_keys() -> None:
    """Keep the keys of providers: encrypted, several for each, in use within a second and without a restart."""


@provider_keys.command(short_help="Add a key, which is asked for or read from standard input.")
@click.argument("provider")
@click.option("--name", default="", help="What people call it.")
@data_option
def add(provider: str, name: str, data: DataFolder) -> None:
    """Add a key of PROVIDER. The key is asked for, or read from standard input; it is never an argument, which others
    on the machine could see, and never shown again."""
    secret = _secret()
    with connected(data, session=True) as api, explained():
        made = provider_keys_pb2_grpc.ProviderKeyServiceStub(api.channel).CreateProviderKey(
            provider_keys_pb2.CreateProviderKeyRequest(provider=provider, secret=secret, display_name=name),
            timeout=CALL_TIMEOUT_S,
            metadata=api.metadata,
        )
    click.echo(made.provider_key_id)
    click.echo(f"{made.provider} now takes turns with the key that ends in {made.hint}.", err=True)


@provider_keys.command("list", short_help="Print the keys, without their secrets.")
@click.option("--provider", default="", help="Of one provider.")
@json_option
@data_option
def list_keys(provider: str, as_json: bool, data: DataFolder) -> None:
    """Print the keys, without their secrets."""
    with connected(data, session=True) as api, explained():
        listed = provider_keys_pb2_grpc.ProviderKeyServiceStub(api.channel).ListProviderKeys(
            provider_keys_pb2.ListProviderKeysRequest(provider=provider), timeout=CALL_TIMEOUT_S, metadata=api.metadata
        )
    if as_json:
        click.echo(json.dumps({"provider_keys": [json_format.MessageToDict(one) for one in listed.provider_keys]}))
        return
    for one in listed.provider_keys:
        named = f"  {one.display_name}" if one.display_name else ""
        click.echo(f"{one.provider_key_id}  {one.create_time.ToJsonString()}  {one.provider}  …{one.hint}{named}")
    if not listed.provider_keys:
        click.echo("There are none.", err=True)


@provider_keys.command(short_help="Remove a key.")
@click.argument("provider_key_id", type=click.UUID)
@data_option
def remove(provider_key_id: object, data: DataFolder) -> None:
    """Remove the key PROVIDER_KEY_ID: new calls do not take it. Revoke it at the provider too."""
    with connected(data, session=True) as api, explained():
        provider_keys_pb2_grpc.ProviderKeyServiceStub(api.channel).DeleteProviderKey(
            provider_keys_pb2.DeleteProviderKeyRequest(provider_key_id=str(provider_key_id)),
            timeout=CALL_TIMEOUT_S,
            metadata=api.metadata,
        )
    click.echo("Removed.")


def _secret() -> str:
    if sys.stdin.isatty():
        typed: str = click.prompt("Key", hide_input=True, err=True)
        return typed.strip()
    secret = sys.stdin.read().strip()
    if not secret:
        raise click.UsageError("Standard input is blank; expected the key.")
    return secret
