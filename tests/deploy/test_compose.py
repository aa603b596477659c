"""`compose.yaml`: one server by the profile `single`, and the parts of several machines by `scaled`."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from danqing.config import Settings, load_settings, variable_of

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "compose.yaml").read_text("utf-8")
SCALED = ROOT / "deploy/compose/scaled.env"
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")
OURS = ("api", "worker", "flower")


def services(**environ: str) -> dict[str, Any]:
    """All of them, as Compose reads them with these variables."""
    return yaml.safe_load(VARIABLE.sub(lambda found: environ.get(found[1]) or found[2], TEXT))["services"]


def started(profiles: str = "", **environ: str) -> set[str]:
    """The names of those that `docker compose up` starts with these profiles."""
    chosen = set(profiles.split(","))
    return {name for name, service in services(**environ).items() if chosen & set(service["profiles"])}


def scaled_env() -> dict[str, str]:
    """What `deploy/compose/scaled.env` sets."""
    return dict(re.findall(r"^(\w+)=(.*)$", SCALED.read_text("utf-8"), re.MULTILINE))


def settings_of(name: str, tmp_path: Path) -> Settings:
    environment = {key: str(value) for key, value in services()[name]["environment"].items()}
    return load_settings(environ=environment, env_file=tmp_path / "none")


def seconds(duration: str) -> float:
    assert duration.endswith("s")
    return float(duration.removesuffix("s"))


def test_the_single_server_is_alone() -> None:
    assert started("single") == {"danqing"}
    assert settings_of("danqing", Path("/nowhere")).database_url is None


@pytest.mark.parametrize("name, folder", [("danqing", "/data/outputs"), ("api", "/pictures"), ("worker", "/pictures")])
@pytest.mark.parametrize("variable", ["OUTPUT_DIR", "DANQING_OUTPUT_DIR"])
def test_pictures_go_to_the_volume_whatever_the_users_file_says(
    name: str, folder: str, variable: str, tmp_path: Path
) -> None:
    of_user = {variable: "./outputs"}
    own = {key: str(value) for key, value in services()[name]["environment"].items()}
    assert load_settings(environ=of_user | own, env_file=tmp_path / "none").outputs == Path(folder)


def test_the_parts_of_several_machines_instead_of_it() -> None:
    # Given the file that switches them on
    environ = scaled_env()
    # Then they start, and the single server, which has the same port, does not
    assert started(environ["COMPOSE_PROFILES"], **environ) == {
        *OURS, "proxy", "postgres", "redis", "prometheus", "grafana",
    }  # fmt: skip
    assert started("scaled,s3", **environ) >= {"s3", "api"}


@pytest.mark.parametrize("name", OURS)
def test_their_settings_are_settings(name: str, tmp_path: Path) -> None:
    settings = settings_of(name, tmp_path)
    assert settings.database_url is not None
    assert settings.redis_url is not None
    assert settings.outputs == Path("/pictures")


def test_variables_of_the_file_itself_are_not_taken_for_settings() -> None:
    """`.env` goes into the containers, too, where an unknown `DANQING_…` is refused."""
    known = {f"DANQING_{field.upper()}" for field in Settings.model_fields}
    assert {name for name, _ in VARIABLE.findall(TEXT) if name.startswith("DANQING_")} <= known


def test_every_variable_has_a_default_and_those_of_the_file_are_used() -> None:
    # Given the variables that are asked for
    asked = {name for name, _ in VARIABLE.findall(TEXT)}
    assert len(VARIABLE.findall(TEXT)) == TEXT.count("${")
    # Then what the file names, commented out or not, is one of them, Compose's own, or a setting
    named = set(re.findall(r"^#?([A-Z]\w+)=", SCALED.read_text("utf-8"), re.MULTILINE))
    aliases = {alias for field in Settings.model_fields for alias in variable_of(field).aliases}
    known = asked | aliases | {f"DANQING_{field.upper()}" for field in Settings.model_fields}
    assert named - known <= {"COMPOSE_PROFILES", "COMPOSE_FILE"}


def test_ports_are_published_on_this_machine_only() -> None:
    ports = [port for service in services().values() for port in service.get("ports", ())]
    assert len(ports) >= 5
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_the_stores_are_reached_by_the_others_only() -> None:
    whole = yaml.safe_load(VARIABLE.sub("", TEXT))
    assert whole["networks"]["stores"]["internal"] is True
    for name in ("postgres", "redis", "s3"):
        assert services()[name]["networks"] == ["stores"]
        assert "ports" not in services()[name]


def test_who_has_no_business_with_the_stores_does_not_reach_them() -> None:
    reaching = {name for name, service in services().items() if "stores" in service.get("networks", ())}
    assert reaching == {*OURS, "postgres", "redis", "s3"}


@pytest.mark.parametrize("name", ["danqing", *OURS])
def test_ours_do_not_get_the_passwords_of_others(name: str) -> None:
    # Given that they read the whole `.env`
    passwords = {key for key in scaled_env() if key.endswith("_PASSWORD")}
    assert len(passwords) == 2
    # Then what stands in it for others does not reach them
    assert {services()[name]["environment"].get(key) for key in passwords} == {""}


def test_flower_which_has_no_password_gets_no_keys() -> None:
    flower = services(CELERY_BROKER_URL="amqp://mq")["flower"]
    assert flower["env_file"] == []
    assert flower["environment"]["CELERY_BROKER_URL"] == "amqp://mq"
    for name in ("DANQING_BROKER_URL", "DANQING_REDIS_URL"):  # which go before the names that others know
        assert services(**{name: "redis://mine"})["flower"]["environment"][name] == "redis://mine"
    assert not {key for key in flower["environment"] if key.startswith(("API_", "AWS_"))}


@pytest.mark.parametrize("name", OURS)
def test_ours_wait_for_the_object_store_where_there_is_one(name: str) -> None:
    waited = services()[name]["depends_on"]["s3"]
    assert waited == {"condition": "service_healthy", "required": False}
    assert "healthcheck" in services()["s3"]


@pytest.mark.parametrize("name", ["danqing", "api", "worker"])
def test_whoever_is_stopped_has_the_time_to_end(name: str, tmp_path: Path) -> None:
    grace = seconds(services()[name]["stop_grace_period"])
    assert grace > settings_of(name, tmp_path).drain_deadline_s + 10


@pytest.mark.parametrize("name", services())
def test_every_service_comes_back_and_says_whether_it_works(name: str) -> None:
    service = services()[name]
    assert service["restart"] == "unless-stopped"
    assert name == "proxy" or service["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", ["danqing", *OURS])
def test_ours_have_no_rights(name: str) -> None:
    assert services()[name]["cap_drop"] == ["ALL"]
    assert services()[name]["security_opt"] == ["no-new-privileges:true"]


def test_what_is_mounted_is_there() -> None:
    mounted = [volume for service in services().values() for volume in service.get("volumes", ())]
    files = [volume.split(":")[0] for volume in mounted if volume.startswith("./")]
    assert [name for name in files if not (ROOT / name).exists()] == []
    named = {volume.split(":")[0] for volume in mounted if not volume.startswith("./")}
    assert named == set(yaml.safe_load(VARIABLE.sub("", TEXT))["volumes"])


def test_gpus_are_for_those_who_make_pictures() -> None:
    gpus = yaml.safe_load((ROOT / "deploy/compose/gpu.yaml").read_text("utf-8"))["services"]
    assert set(gpus) == {"danqing", "worker"}
    for service in gpus.values():
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]
