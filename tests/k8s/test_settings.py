"""What a pod tells its process, read by the process's own settings, and the times that have to fit one another."""

from __future__ import annotations

import base64
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from images import entry
from services.inference.config import parse
from services.local.data_folder import DataFolder
from services.local.plan import make_plan
from services.local.port_names import port_names
from services.local.secrets import Secrets
from services.local.settings import MeshSettings as LocalSettings
from services.mesh.access.workloads import workloads_of
from services.mesh.settings import PREFIX, MeshSettings, load
from tests.k8s.built import Container, containers, each_overlay, of_kind, one, pod
from tests.k8s.istio_model import PREFIX as PRINCIPALS
from tools.k8s_build import names as overlays
from tools.k8s_secrets import documents
from tools.mesh_clients import NAMES

each_service = pytest.mark.parametrize("service", NAMES)
MAIL = "mail"
SETTINGS = {
    "auth": "services.auth.settings:AuthSettings",
    "prompts": "services.prompts.settings:PromptsSettings",
    "moderation": "services.moderation.settings:ModerationSettings",
    "inference": "services.inference.settings:InferenceSettings",
    MAIL: "services.auth.mail.settings:MailSettings",
}
# Every process of ours, in each overlay that has it.
each_process = pytest.mark.parametrize(
    ("overlay", "service"),
    [(overlay, name) for overlay in overlays() for name in SETTINGS if name != MAIL or overlay != "local"],
)
DEFAULT_PLANS = Path(__file__).resolve().parents[2] / "services/auth/plans/default_plans.yaml"
# Read by others than the service's settings.
OTHERS = {"OTEL_EXPORTER_OTLP_ENDPOINT", "MALLOC_ARENA_MAX", "PYTHONUNBUFFERED", "LC_ALL", "TZ"}


def main_container(overlay: str, name: str) -> Container:
    (found,) = [each for each in containers(overlay, initial=False) if each.workload["metadata"]["name"] == name]
    return found


def environment(overlay: str, service: str) -> dict[str, str]:
    """What the process of a pod sees; secrets are those of overlays/local, whose shape is every overlay's."""
    secrets = all_secrets()
    container = main_container(overlay, service)
    seen: dict[str, str] = {}
    for source in container.spec.get("envFrom", []):
        if "configMapRef" in source:
            seen |= one(overlay, "ConfigMap", source["configMapRef"]["name"])["data"]
    for name, variable in container.environment.items():
        value_from = variable.get("valueFrom", {})
        if ref := value_from.get("secretKeyRef"):
            seen[name] = secrets[ref["name"]][ref["key"]]
        elif "fieldRef" in value_from:
            assert value_from["fieldRef"]["fieldPath"] == "metadata.name"
            seen[name] = f"{service}-7d4b9c6f5-abcde"
        else:
            seen[name] = re.sub(r"\$\((\w+)\)", lambda match: seen[match[1]], variable["value"])
    return seen


def all_secrets() -> dict[str, dict[str, str]]:
    """Secret → its keys and values, in the shape that overlays/local has, with what others have beside."""
    found = {one["metadata"]["name"]: one["stringData"] for one in documents() if one["kind"] == "Secret"}
    return found | {"promptmesh-mail": {"smtp-username": "promptmesh", "smtp-password": "drowssap"}}


def files_of(overlay: str, service: str) -> dict[str, str]:
    """Path → text of every file that a ConfigMap or Secret puts into a pod's main container."""
    volumes = {one["name"]: one for one in pod(one_workload(overlay, service)).get("volumes", [])}
    found: dict[str, str] = {}
    for mount in main_container(overlay, service).spec.get("volumeMounts", []):
        volume = volumes.get(mount["name"], {})
        if "configMap" in volume:
            data = one(overlay, "ConfigMap", volume["configMap"]["name"])["data"]
        elif "secret" in volume and not volume["secret"].get("optional"):
            whole = all_secrets()[volume["secret"]["secretName"]]
            data = {item["path"]: whole[item["key"]] for item in volume["secret"]["items"]}
        else:
            continue
        found |= {f"{mount['mountPath']}/{name}": text for name, text in data.items()}
    return found


def settings_type(service: str) -> type[MeshSettings]:
    module, _, name = SETTINGS[service].partition(":")
    found: type[MeshSettings] = getattr(import_module(module), name)
    return found


@pytest.fixture
def settings(overlay: str, service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MeshSettings:
    """What the process of a pod reads; files that it is given lie in a folder of the test's instead."""
    files = files_of(overlay, service)
    for name, value in environment(overlay, service).items():
        if value in files:
            file = tmp_path / value.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(files[value])
            file.chmod(0o600)
            value = str(file)
        monkeypatch.setenv(name, value)
    return load(settings_type(service))


def one_workload(overlay: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in of_kind(overlay, "Deployment", "StatefulSet") if each["metadata"]["name"] == name]
    return found


@each_process
def test_the_process_reads_them(settings: MeshSettings, overlay: str, service: str) -> None:
    ports = {port["name"]: port["containerPort"] for port in main_container(overlay, service).spec["ports"]}
    assert settings.listen == f"0.0.0.0:{ports['grpc']}"
    assert settings.metrics_listen == f"0.0.0.0:{ports['http-metrics']}"
    if service == "inference":
        assert settings.http_listen == f"0.0.0.0:{ports['http-openai']}"
    assert main_container(overlay, service).spec["args"] == [service]
    assert service in entry.MODULES


@each_process
def test_every_setting_that_is_required_is_set(overlay: str, service: str) -> None:
    needed = {
        PREFIX + name.upper() for name, field in settings_type(service).model_fields.items() if field.is_required()
    }
    assert {f"{PREFIX}WORKER", f"{PREFIX}DATABASE_URL", f"{PREFIX}MESH_SECRET", f"{PREFIX}KEY_PEPPER"} <= needed
    assert needed <= set(environment(overlay, service))


@each_process
def test_every_file_that_is_named_is_there(overlay: str, service: str) -> None:
    given, files = environment(overlay, service), files_of(overlay, service)
    named = {name: value for name, value in given.items() if value.startswith("/") and not name.endswith("_DIR")}
    assert set(named.values()) <= set(files), named


@each_process
def test_no_variable_is_misspelt(overlay: str, service: str) -> None:
    fields = {PREFIX + name.upper() for name in settings_type(service).model_fields}
    assert set(environment(overlay, service)) <= fields | OTHERS


@each_overlay
def test_what_is_sealed_has_keys_of_its_own(overlay: str) -> None:
    given = environment(overlay, "auth")
    keys = [given[PREFIX + name] for name in ("AUDIT_SECRET", "FACTOR_SECRET", "KEY_PEPPER", "MESH_SECRET")]
    assert len(set(keys)) == len(keys)


@each_overlay
def test_mail_is_sent_by_its_worker_alone_where_there_is_a_server(overlay: str) -> None:
    auth = environment(overlay, "auth")
    workers = [each for each in of_kind(overlay, "Deployment") if each["metadata"]["name"] == MAIL]
    assert bool(auth.get("PROMPTMESH_SMTP_HOST")) is bool(workers)
    # Nobody waits for a mail that nobody sends; nor does a password of the server lie where nothing uses it.
    assert auth["PROMPTMESH_EMAIL_VERIFICATION"] == ("required" if workers else "optional")
    assert not {"PROMPTMESH_SMTP_PASSWORD", "PROMPTMESH_SMTP_USERNAME"} & set(auth)
    assert auth["PROMPTMESH_MAIL_SENDER"] == "apart"
    if workers:  # how many there are, test_scaling.py holds
        sent = environment(overlay, MAIL)
        assert {name: sent[name] for name in auth if "SMTP" in name} == {n: auth[n] for n in auth if "SMTP" in n}
        assert {"PROMPTMESH_SMTP_PASSWORD", "PROMPTMESH_SMTP_USERNAME"} <= set(sent)


@each_overlay
def test_plans_are_those_of_the_local_run(overlay: str) -> None:
    """The same text: a file that kustomize may not read from where it stands."""
    assert one(overlay, "ConfigMap", "plans")["data"]["plans.yaml"] == DEFAULT_PLANS.read_text()


@each_overlay
def test_a_service_is_known_by_its_certificate_where_sidecars_check_it(overlay: str) -> None:
    meshed = bool(of_kind(overlay, "PeerAuthentication"))
    for service in NAMES:
        given = environment(overlay, service)
        assert (given.get("PROMPTMESH_FORWARDED_CERTIFICATES") == "true") is meshed
        known = {name: who.service for name, who in workloads_of(given.get("PROMPTMESH_WORKLOADS", "")).items()}
        # By their service accounts; the edge's, through which everybody comes, is never among them.
        assert known == ({f"spiffe://{PRINCIPALS}{name}": name for name in NAMES} if meshed else {})


@each_overlay
def test_who_reads_the_first_files_reads_the_release_s_own(overlay: str) -> None:
    providers = yaml.safe_load(one(overlay, "ConfigMap", "oidc")["data"]["oidc.yaml"])
    (mount,) = [each for each in main_container(overlay, "auth").spec["volumeMounts"] if each["name"] == "oidc-secrets"]
    for provider in providers["providers"]:
        assert provider.get("client_secret_file", mount["mountPath"] + "/").startswith(mount["mountPath"] + "/")


@each_overlay
@each_service
def test_no_call_is_cut_off_by_a_rollout(settings: MeshSettings, overlay: str, service: str) -> None:
    container = main_container(overlay, service)
    stays_s = container.spec["lifecycle"]["preStop"]["sleep"]["seconds"]
    # The edge resolves names anew every 5 s, and endpoints take a moment to reach everyone.
    assert stays_s >= 2 * 5
    assert pod(container.workload)["terminationGracePeriodSeconds"] >= stays_s + settings.drain_s + 15
    assert settings.drain_s >= getattr(settings, "provider_total_timeout_s", settings.call_timeout_s)


@each_overlay
def test_the_edge_outlives_every_stream(overlay: str) -> None:
    edge = main_container(overlay, "edge")
    command = edge.spec["lifecycle"]["preStop"]["exec"]["command"]
    assert command[:3] == ["python", "-m", "gateway.drain"]
    at_most_s = float(command[command.index("--at-most-s") + 1])
    # Over HTTP/1.1 a client that has had one from before may ask for one more on its connection.
    assert at_most_s > 2 * MeshSettings.model_fields["stream_age_s"].default
    assert pod(edge.workload)["terminationGracePeriodSeconds"] > at_most_s


@each_overlay
def test_targets_are_services_with_that_port(overlay: str) -> None:
    services = {
        (each["metadata"]["name"], port["port"])
        for each in of_kind(overlay, "Service")
        for port in each["spec"]["ports"]
    }
    headless = {
        each["metadata"]["name"] for each in of_kind(overlay, "Service") if each["spec"].get("clusterIP") == "None"
    }
    meshed = bool(of_kind(overlay, "PeerAuthentication"))
    for area in NAMES:
        target = environment(overlay, "auth")[f"PROMPTMESH_{area.upper()}_TARGET"]
        host, _, port = target.removeprefix("dns:///").partition(":")
        assert (host, int(port)) in services
        # With sidecars they spread the calls; without, clients do, and see every pod.
        assert (host in headless) is not meshed


@each_overlay
def test_the_journal_stands_on_a_volume_that_outlives_the_pod(overlay: str) -> None:
    from services.inference.settings import InferenceSettings

    workload = one(overlay, "StatefulSet", "inference")
    (claim,) = workload["spec"]["volumeClaimTemplates"]
    container = main_container(overlay, "inference")
    (mount,) = [each for each in container.spec["volumeMounts"] if each["name"] == claim["metadata"]["name"]]
    assert container.environment["PROMPTMESH_WORKER_DIR"]["value"] == f"{mount['mountPath']}/$(PROMPTMESH_WORKER)"
    assert workload["spec"]["persistentVolumeClaimRetentionPolicy"] == {"whenScaled": "Retain", "whenDeleted": "Retain"}
    size = claim["spec"]["resources"]["requests"]["storage"]
    assert int(size.removesuffix("Gi")) * 1024**3 > InferenceSettings.model_fields["journal_bytes_max"].default


@each_overlay
def test_models_yaml_is_taken(overlay: str) -> None:
    config = parse(one(overlay, "ConfigMap", "models")["data"]["models.yaml"])
    assert config.models
    container = main_container(overlay, "inference")
    (mount,) = [each for each in container.spec["volumeMounts"] if each["name"] == "models"]
    assert container.environment["PROMPTMESH_MODELS_FILE"]["value"] == f"{mount['mountPath']}/models.yaml"


@each_overlay
def test_the_migration_has_every_address_and_the_name_of_its_release(overlay: str) -> None:
    (job,) = of_kind(overlay, "Job")
    (container,) = pod(job)["containers"]
    assert job["metadata"]["name"] == "migrate-" + container["image"].rpartition(":")[2]
    names = {each["name"] for each in container["env"]}
    assert names == {f"PROMPTMESH_{name.upper()}_DATABASE_URL" for name in (*NAMES, "admin")}


@each_overlay
def test_the_migration_takes_nothing_whose_name_goes_by_its_text(overlay: str) -> None:
    """A Job cannot be changed: another setting would be refused, with all that is applied, until the Job is gone."""
    hashed = {
        each["metadata"]["name"]
        for each in of_kind(overlay, "ConfigMap", "Secret")
        if re.search(r"-[2456789bcdfghkmt]{10}$", each["metadata"]["name"])
    }
    assert any(name.startswith("promptmesh-") for name in hashed)
    (job,) = of_kind(overlay, "Job")
    assert hashed & strings(job["spec"]["template"]) == set()
    assert hashed & strings(one_workload(overlay, "auth")["spec"]["template"])


def strings(thing: Any) -> set[str]:
    """Every value that is text, however deep."""
    if isinstance(thing, dict | list):
        below = thing.values() if isinstance(thing, dict) else thing
        return {text for each in below for text in strings(each)}
    return {thing} if isinstance(thing, str) else set()


def test_secrets_of_the_local_overlay_are_never_twice_the_same() -> None:
    first, second = ([one["stringData"] for one in documents() if one["kind"] == "Secret"] for _ in range(2))
    for before, after in zip(first, second, strict=True):
        for key in before:
            assert before[key] != after[key], key


def test_keys_are_as_long_as_services_want_them() -> None:
    shared = next(one for one in documents() if one["metadata"]["name"] == "promptmesh-shared")["stringData"]
    assert len(base64.urlsafe_b64decode(shared["mesh-secret"])) == 32


@each_overlay
@each_service
def test_a_pod_is_told_all_that_a_local_process_is(overlay: str, service: str, tmp_path: Path) -> None:
    local = LocalSettings.read(
        workers=1, edge_port=None, data=tmp_path / "data", environment={"PATH": "/bin"}, directory=tmp_path
    )
    ports = {name: 20_000 + index for index, name in enumerate(port_names(local))}
    plan = make_plan(DataFolder(tmp_path / "data"), local, Secrets(), ports, bootstrap_admin=False)
    (process,) = [each for each in plan.processes if each.name == f"{service}-0"]
    told = {name for name in process.environment if name.startswith(PREFIX)}
    # A folder that outlives the process is of use to the one that keeps a journal there.
    told -= set() if service == "inference" else {"PROMPTMESH_WORKER_DIR"}
    told -= {"PROMPTMESH_START_FILE"}  # in a cluster a pod is there only once the database is
    # On one machine mail is caught; in a cluster it goes where the operator says, or nowhere.
    told -= {"PROMPTMESH_SMTP_HOST", "PROMPTMESH_SMTP_PORT", "PROMPTMESH_SMTP_TLS"}
    told -= {"PROMPTMESH_PEER_BALANCING"}  # of the spare ports of one machine; in a cluster every pod is looked for
    assert told <= set(environment(overlay, service))


@each_overlay
def test_no_secret_stands_in_the_open(overlay: str) -> None:
    assert of_kind(overlay, "Secret") == []
    for container in containers(overlay):
        for name, variable in container.environment.items():
            if re.search(r"SECRET|PASSWORD|TOKEN|PEPPER|_URL$", name):
                assert "secretKeyRef" in variable.get("valueFrom", {}), f"{container.name}: {name}"
    for config in of_kind(overlay, "ConfigMap"):
        for text in config["data"].values():
            assert not re.search(r"(postgres(ql)?|rediss?)://", text)
