"""Schemas: Kubernetes' own, from `kubernetes-validate`; of custom resources, from packages of npm made of their CRDs;
Istio's and the Gateway API's also from files of their CRDs."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from kubernetes_validate import utils
from referencing import Registry, Resource

from tools.node import NODE, install

CRDS_SETTING = "ISTIO_CRDS"
"""A folder with CustomResourceDefinitions as YAML: Istio's crd-all.gen.yaml and the Gateway API's."""
CRDS_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "crds"
"""Where the project's developers have one, beside the repository; it is no part of it."""
CRD_GROUPS = ("istio.io", "gateway.networking.k8s.io")
# Of operators, and of Istio and the Gateway API: kinds that packages of npm have schemas of (tests/support/crds).
CUSTOM_GROUPS = (*CRD_GROUPS, "external-secrets.io", "cert-manager.io", "monitoring.coreos.com", "keda.sh", "cnpg.io")
# Of those that no package has, a schema of ours, of the fields that are used and the values that their CRDs allow.
OWN_SCHEMAS = {"ObjectStore": "objectstore.schema.json"}
CHECKS = Path(__file__).resolve().parents[1] / "support" / "crds"
CHECK_PATIENCE_S = 300.0


@cache
def _read(file: str, version: str) -> Any:
    return utils.schema_contents(f"kubernetes-json-schema/v{version}-local-strict/{file}", version)


@cache
def _kubernetes(kind: str, api_version: str, version: str) -> jsonschema.Draft202012Validator:
    group, _, number = api_version.rpartition("/")
    name = "-".join(part for part in (kind.lower(), group.partition(".")[0], number) if part)
    schema = _read(f"{name}.json", version)
    registry: Registry[Any] = Resource.from_contents(schema) @ Registry()
    registry = Resource.from_contents(_read("_definitions.json", version)) @ registry
    return jsonschema.Draft202012Validator(schema, registry=registry)


def kubernetes_faults(thing: dict[str, Any], version: str) -> list[str]:
    """What Kubernetes of a version (1.30.0) says is wrong, unknown fields included. FileNotFoundError: no such kind."""
    return _faults(_kubernetes(thing["kind"], thing["apiVersion"], version), thing)


def is_custom(thing: dict[str, Any]) -> bool:
    """Whether it is of a kind that Kubernetes itself does not have."""
    group: str = thing["apiVersion"].rpartition("/")[0]
    return group.endswith(CUSTOM_GROUPS)


def custom_faults(things: Sequence[dict[str, Any]]) -> list[str]:
    """What schemas of custom resources say is wrong, and fields that they do not know. Rules in CEL are not asked."""
    own = [fault for each in things if each["kind"] in OWN_SCHEMAS for fault in _faults(_own(each["kind"]), each)]
    return own + _packages_faults([each for each in things if each["kind"] not in OWN_SCHEMAS])


@cache
def _own(kind: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((CHECKS / OWN_SCHEMAS[kind]).read_text()))


def _packages_faults(things: Sequence[dict[str, Any]]) -> list[str]:
    with (Path(tempfile.gettempdir()) / "promptmesh-crds-for-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one of several test processes installs
        install(CHECKS)
    done = subprocess.run(
        [NODE, CHECKS / "check.mjs"],
        input=json.dumps(things),
        capture_output=True,
        text=True,
        check=False,
        timeout=CHECK_PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    found: list[list[str]] = json.loads(done.stdout)
    return [
        f"{thing['kind']} {thing['metadata']['name']}: {fault}"
        for thing, faults in zip(things, found, strict=True)
        for fault in faults
    ]


def crd_folder(beside: Path = CRDS_BESIDE) -> Path | None:
    """The folder that is named, or else the one beside the repository; None: there is neither."""
    if named := os.environ.get(CRDS_SETTING):
        return Path(named)
    return beside if beside.is_dir() else None


@cache
def crd_schemas(folder: Path) -> dict[tuple[str, str], Any]:
    """(kind, apiVersion) → schema, of every CRD in a folder."""
    found = {}
    for file in sorted(folder.glob("*.yaml")):
        for one in yaml.load_all(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if one and one["kind"] == "CustomResourceDefinition":
                spec = one["spec"]
                for version in spec["versions"]:
                    key = (spec["names"]["kind"], f"{spec['group']}/{version['name']}")
                    found[key] = version["schema"]["openAPIV3Schema"]
    return found


def crd_faults(thing: dict[str, Any], folder: Path) -> list[str]:
    """What a CRD's schema says is wrong, unknown fields included, but not its rules in CEL. KeyError: no CRD."""
    schema = crd_schemas(folder)[thing["kind"], thing["apiVersion"]]
    return _faults(jsonschema.Draft202012Validator(_strict(schema, top=True)), thing)


def _strict(schema: Any, *, top: bool = False) -> Any:
    """The schema, in which what is not named is refused, as `kubectl apply` refuses it."""
    if not isinstance(schema, dict):
        return schema
    strict = dict(schema)
    if isinstance(schema.get("properties"), dict):
        strict["properties"] = {name: _strict(each) for name, each in schema["properties"].items()}
        if top:
            strict["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}}
        if "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            strict["additionalProperties"] = False
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            strict[name] = _strict(schema[name])
    if schema.get("x-kubernetes-int-or-string"):
        strict.pop("type", None)
    return strict


def _faults(validator: jsonschema.Draft202012Validator, thing: dict[str, Any]) -> list[str]:
    errors: Iterator[jsonschema.ValidationError] = validator.iter_errors(thing)
    where = f"{thing['kind']} {thing['metadata']['name']}"
    return [f"{where}: {'.'.join(map(str, error.path))}: {error.message[:300]}" for error in errors]
