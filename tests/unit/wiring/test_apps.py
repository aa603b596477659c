"""From settings to listeners, keys and apps."""

from pathlib import Path

import httpx2
import pytest
import structlog

from danqing.config import DialectPort, InvalidSettings, Settings
from danqing.core.callers import LOCAL
from danqing.http.listeners import Listener
from danqing.wiring import build_managed_app, check_exposure, listeners, open_runtime
from danqing.wiring.apps import DIALECTS, gate_of
from danqing.wiring.keys import keys_of
from danqing.workers.factory import EngineFactory
from tests.zoo.engines import Zoo


def settings(**fields: object) -> Settings:
    return Settings.model_validate(fields)


def test_the_shared_port_comes_first_then_one_for_each_dialect_named() -> None:
    shared, turbo = listeners(settings(host="0.0.0.0", listen=(DialectPort(dialect="turbo", port=5000),)))
    assert shared == Listener(host="0.0.0.0", port=8000, dialect=None)
    assert turbo == Listener(host="0.0.0.0", port=5000, dialect="turbo")


def test_a_dialect_that_nobody_speaks_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="klingon is not a dialect; there is genserve, live, openai"):
        listeners(settings(listen=(DialectPort(dialect="klingon", port=1),)))


def test_a_port_that_is_named_twice_is_told_with_both_names() -> None:
    turbo, live = DialectPort(dialect="turbo", port=5000), DialectPort(dialect="live", port=5000)
    with pytest.raises(
        InvalidSettings,
        match=r"DANQING_PORT \(PORT, --port\), which has every dialect, and "
        r"DANQING_LISTEN \(--listen turbo=5000\) both name port 5000\.",
    ):
        listeners(settings(port=5000, listen=(turbo,)))
    with pytest.raises(InvalidSettings, match="which has openai, and"):
        listeners(settings(port=5000, listen=(turbo,)), alone="openai")
    with pytest.raises(InvalidSettings, match=r"--listen turbo=5000\) and DANQING_LISTEN \(--listen live=5000\)"):
        listeners(settings(listen=(turbo, live)))
    # Free ones differ once they are open
    assert len(listeners(settings(port=0, listen=(DialectPort(dialect="turbo", port=0),)))) == 2


def test_every_dialect_is_mounted_under_its_own_name() -> None:
    assert [build().name for build in DIALECTS.values()] == list(DIALECTS)


def test_without_keys_everybody_is_let_in() -> None:
    keys = keys_of(settings())
    assert not keys.enabled
    assert keys.caller(None) == LOCAL


@pytest.mark.parametrize("named", [{"api_key": "a"}, {"allowed_keys": ("a", "b")}])
def test_configured_keys_are_needed_and_each_is_a_caller_of_its_own(named: dict[str, object]) -> None:
    keys = keys_of(settings(**named))
    assert keys.enabled
    assert keys.caller(None) is None
    assert keys.caller(b"c") is None
    caller = keys.caller(b"a")
    assert caller is not None
    assert not caller.sees_all


def test_keys_can_be_configured_and_switched_off() -> None:
    assert not keys_of(settings(api_key="a", enable_auth=False)).enabled


def test_the_administrator_alone_lets_nobody_else_in() -> None:
    keys = keys_of(settings(admin_key="root"))
    admin = keys.caller(b"root")
    assert keys.enabled
    assert admin is not None
    assert admin.sees_all
    assert keys.caller(b"anything") is None


def test_switched_on_without_a_list_any_key_is_an_ordinary_one() -> None:
    # As the zimage vendor documents it
    keys = keys_of(settings(admin_key="root", enable_auth=True))
    caller = keys.caller(b"anything")
    assert caller is not None
    assert not caller.sees_all
    assert keys.caller(b"") is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.9.9.9"])
def test_this_machine_needs_no_keys(host: str) -> None:
    assert not check_exposure(settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.20", "studio.example"])
def test_other_machines_need_a_key_or_a_permission(host: str) -> None:
    with pytest.raises(InvalidSettings, match="--allow-public"):
        check_exposure(settings(host=host))
    with pytest.raises(InvalidSettings, match="--allow-public"):
        check_exposure(settings(host=host, api_key="k", enable_auth=False))
    assert not check_exposure(settings(host=host, api_key="k"))
    assert check_exposure(settings(host=host, allow_public=True))


@pytest.mark.parametrize("admin", [{}, {"admin_key": "root"}])
def test_keys_of_which_any_will_do_are_none(admin: dict[str, object]) -> None:
    with pytest.raises(InvalidSettings, match="any key is let in"):
        check_exposure(settings(host="0.0.0.0", enable_auth=True, **admin))
    assert check_exposure(settings(host="0.0.0.0", enable_auth=True, allow_public=True, **admin))
    assert not check_exposure(settings(host="0.0.0.0", enable_auth=True, allowed_keys=("k",), **admin))
    assert not check_exposure(settings(host="127.0.0.1", enable_auth=True, **admin))


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 403),
        ({"enable_auth": True, "admin_key": "root"}, 403),
        ({"allow_public": True}, 200),
        ({"api_key": "k"}, 200),
    ],
)
async def test_behind_a_process_manager_each_client_is_judged(
    tmp_path: Path, fields: dict[str, object], status: int
) -> None:
    # Given an app for which somebody else has chosen the address
    here = settings(data_dir=tmp_path / "data", cuda_available=False, **fields)
    engine = EngineFactory(target="tests.zoo.engines:build_zoo", argument=Zoo(folder=tmp_path))
    async with open_runtime(here, engine=engine) as runtime:
        app = build_managed_app(runtime, None)
        for client, expected in (("192.0.2.7", status), ("127.0.0.1", 200)):
            # When a client from elsewhere, or from here, asks
            transport = httpx2.ASGITransport(app=app, client=(client, 50000))
            async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
                answer = await http.get("/livez", headers={"X-Auth-Key": "k"})
                misled = await http.get("/livez", headers={"X-Auth-Key": "k", "Host": "evil.example"})
            # Then it is let in only if it may be, and under a name of ours
            assert answer.status_code == expected
            assert misled.status_code == 403


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"allowed_hosts": ("https://a.example",)}, "ALLOWED_HOSTS.*https://a.example is not a host name"),
        ({"allowed_hosts": ("ann:sesame@a.example",)}, "ALLOWED_HOSTS: That is not a host name"),
    ],
)
def test_a_list_that_would_never_match_is_named(fields: dict[str, object], told: str) -> None:
    with pytest.raises(InvalidSettings, match=told):
        gate_of(settings(**fields), loopback_only=True, local_clients_only=False)


def test_with_any_key_let_in_the_log_warns() -> None:
    with structlog.testing.capture_logs() as lines:
        gate_of(settings(enable_auth=True, admin_key="root"), loopback_only=True, local_clients_only=False)
    assert [line["event"] for line in lines] == ["any_key_is_let_in"]


LONG = "0123456789abcdef"


@pytest.mark.parametrize(
    ("fields", "variables"),
    [
        ({"api_key": "sesame", "admin_key": LONG}, ["DANQING_API_KEY (API_KEY)"]),
        ({"allowed_keys": (LONG, "sesame")}, ["DANQING_ALLOWED_KEYS (API_ALLOWED_KEYS)"]),
        ({"api_key": LONG, "admin_key": "sesame"}, ["DANQING_ADMIN_KEY (API_ADMIN_KEY)"]),
        ({"api_key": LONG, "allowed_keys": (LONG,), "admin_key": LONG}, []),
        ({"api_key": "sesame", "enable_auth": False}, []),
    ],
)
def test_a_key_that_others_may_guess_is_warned_of_and_not_told(fields: dict[str, object], variables: list[str]) -> None:
    for loopback_only in (False, None):  # None: others chose the address
        with structlog.testing.capture_logs() as lines:
            gate_of(settings(**fields), loopback_only=loopback_only, local_clients_only=False)
        assert [line["variable"] for line in lines if line["event"] == "weak_key"] == variables
        assert all("openssl rand -hex 24" in line["hint"] and line["log_level"] == "warning" for line in lines)
        assert "sesame" not in str(lines)


def test_on_this_machine_alone_a_short_key_is_nobody_s_business() -> None:
    with structlog.testing.capture_logs() as lines:
        gate_of(settings(api_key="sesame"), loopback_only=True, local_clients_only=False)
    assert lines == []
