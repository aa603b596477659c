"""Settings: where values come from, what is refused, and that the documents tell all of it."""

from pathlib import Path
from typing import Annotated, cast

import pytest
from pydantic import BaseModel, Field, SecretStr

from danqing.config import (
    DialectPort,
    InvalidSettings,
    Settings,
    env_files,
    load_settings,
    loading,
    variable_of,
)

ROOT = Path(__file__).parents[2]


def load(environ: dict[str, str] | None = None, file: Path | None = None, **overrides: object) -> Settings:
    return load_settings(overrides, environ=environ or {}, env_file=file or Path("no such file"))


def test_without_variables_it_serves_the_sample_model_to_this_machine_only() -> None:
    settings = load()
    assert (settings.host, settings.port, settings.model) == ("127.0.0.1", 8000, "sample")
    assert settings.outputs == Path("danqing-data/outputs").absolute()


def test_every_variable_of_the_turbo_seed_is_read(tmp_path: Path) -> None:
    # Given the `.env` that the seed document shows, with the switches it names later
    file = tmp_path / ".env"
    file.write_text(
        "# GPU配置\nGPU_DEVICE_ID=0\nCUDA_AVAILABLE=true\n\nMODEL_NAME=Tongyi-MAI/Z-Image-Turbo\n"
        "MODEL_TORCH_DTYPE=bfloat16\nHOST=0.0.0.0\nPORT=5000\nDEBUG=false\nMAX_QUEUE_SIZE=7\nTASK_TIMEOUT=60\n"
        "OUTPUT_DIR=./outputs\nENABLE_MODEL_COMPILE=true\nENABLE_CPU_OFFLOAD=true\n",
        encoding="utf-8",
    )
    # When it is loaded
    settings = load(file=file)
    # Then each variable has arrived
    assert settings.gpu_device_id == 0
    assert settings.cuda_available is True
    assert settings.model == "Tongyi-MAI/Z-Image-Turbo"
    assert settings.dtype == "bfloat16"
    assert (settings.host, settings.port, settings.debug) == ("0.0.0.0", 5000, False)
    assert (settings.max_queue_size, settings.task_timeout_s) == (7, 60.0)
    assert settings.outputs == Path("outputs").absolute()
    assert settings.compile_model
    assert settings.cpu_offload


def test_the_order_is_option_then_own_name_then_alias_then_default(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("DANQING_PORT=3\nPORT=4\n")
    assert load({"DANQING_PORT": "1", "PORT": "2"}, file, port=9).port == 9
    assert load({"DANQING_PORT": "1", "PORT": "2"}, file).port == 1
    assert load({"PORT": "2"}, file).port == 3  # our own name wins over an alias wherever it stands
    file.write_text("PORT=4\n")
    assert load({"PORT": "2"}, file).port == 2
    assert load({}, file).port == 4


def test_the_variables_of_an_old_zimage_are_read_where_they_were(tmp_path: Path) -> None:
    # Given the folder of an old zimage, with its variables where its document has them
    own, zimages = tmp_path / ".env", tmp_path / "apps" / "api" / ".env"
    zimages.parent.mkdir(parents=True)
    zimages.write_text("API_ENABLE_AUTH=true\nAPI_ADMIN_KEY=boss\nMAX_QUEUE_SIZE=7\n")
    # Then they count, and the file is among those that are told
    settings = load(file=own)
    assert (settings.enable_auth, settings.max_queue_size) == (True, 7)
    assert settings.admin_key is not None
    assert settings.admin_key.get_secret_value() == "boss"
    assert env_files(own) == (zimages,)
    # And where there are both, what `.env` says goes before, and an empty value there hides nothing
    own.write_text("MAX_QUEUE_SIZE=8\nAPI_ENABLE_AUTH=\n")
    settings = load(file=own)
    assert (settings.enable_auth, settings.max_queue_size) == (True, 8)
    assert load({"MAX_QUEUE_SIZE": "9"}, own).max_queue_size == 9
    assert env_files(own) == (own, zimages)
    # And what is wrong in it is told, too
    zimages.write_text("DANQING_PROT=1")
    with pytest.raises(InvalidSettings, match="DANQING_PROT is not a setting"):
        load(file=own)
    zimages.write_bytes(b"\xff")
    with pytest.raises(InvalidSettings, match=r"apps/api/\.env cannot be read"):
        load(file=own)


def test_a_folder_is_no_file_with_variables(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert env_files(tmp_path / ".env") == ()
    assert load(file=tmp_path / ".env").port == 8000


def test_an_empty_value_says_nothing() -> None:
    assert load({"DANQING_PORT": "", "MODEL_NAME": ""}).model == "sample"


@pytest.mark.parametrize("name", ["MAX_QUEUE_SIZE", "DANQING_MAX_QUEUE_SIZE"])
def test_an_empty_variable_does_not_hide_what_the_file_says(tmp_path: Path, name: str) -> None:
    file = tmp_path / ".env"
    file.write_text(f"{name}=7\n")
    assert load({name: ""}, file).max_queue_size == 7
    file.write_text(f"{name}=\n")
    assert load({name: "8"}, file).max_queue_size == 8
    assert load({name: "", "DANQING_PORT": ""}, file).max_queue_size == 100


def test_an_empty_own_name_leaves_it_to_the_alias() -> None:
    assert load({"DANQING_PORT": "", "PORT": "5000"}).port == 5000


@pytest.mark.parametrize("text", ["float16", "FLOAT16", "torch.float16", "Torch.Float16"])
def test_number_formats_are_read_as_other_programs_write_them(text: str) -> None:
    assert load({"MODEL_TORCH_DTYPE": text}).dtype == "float16"


def test_a_foreign_env_file_is_fine_but_a_misspelt_setting_is_not(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("DATABASE_PASSWORD=x\nVITE_API=/api\n")
    assert load(file=file).port == 8000
    for value in ("1", ""):
        with pytest.raises(InvalidSettings, match=r"DANQING_PROT is not a setting\. Did you mean DANQING_PORT\?"):
            load({"DANQING_PROT": value})


def test_a_wrong_value_is_named_with_both_names_of_its_setting() -> None:
    with pytest.raises(InvalidSettings, match=r"DANQING_PORT \(PORT\): 'x': .*integer"):
        load({"PORT": "x"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "70000"), ("PORT", "-1"), ("MAX_QUEUE_SIZE", "0"), ("TASK_TIMEOUT", "0"), ("MODEL_TORCH_DTYPE", "int4"),
     ("DANQING_LISTEN", "turbo"), ("DANQING_LISTEN", "=5000"), ("GPU_DEVICE_ID", "-1"), ("DEBUG", "perhaps")],
)  # fmt: skip
def test_values_outside_a_range_are_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidSettings, match=name):
        load({name: value})


def test_further_ports_are_a_list() -> None:
    settings = load({"DANQING_LISTEN": "turbo=5000, genserve=12411"})
    assert settings.listen == (DialectPort(dialect="turbo", port=5000), DialectPort(dialect="genserve", port=12411))


def test_secrets_are_shown_nowhere() -> None:
    # Given settings with keys among them
    settings = load({"API_KEY": "open sesame", "API_ALLOWED_KEYS": "sesame2,sesame3", "API_ADMIN_KEY": "sesame4"})
    # Then neither their repr nor what is logged has one
    assert "sesame" not in f"{settings!r} {settings.masked()}"


def test_a_password_in_an_address_is_not_logged() -> None:
    shown = str(load({"DANQING_MODEL": "https://user:sesame@hub.example/a/b"}).masked())
    assert "sesame" not in shown
    assert "https://***@hub.example/a/b" in shown


@pytest.mark.parametrize("origin", ["a.example", "https://a.example/", "*", "NULL", "ftp://a.example", "https://a:0"])
def test_an_origin_that_no_page_has_is_refused(origin: str) -> None:
    with pytest.raises(InvalidSettings, match=r"DANQING_ALLOWED_ORIGINS.*without a user and a path"):
        load({"DANQING_ALLOWED_ORIGINS": f"https://b.example, {origin}"})


def test_pages_that_hide_their_origin_can_be_listed() -> None:
    assert load({"DANQING_ALLOWED_ORIGINS": "https://b.example, null"}).allowed_origins == ("https://b.example", "null")


def test_a_wrong_secret_is_not_told_either(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a setting that refuses a key
    class Strict(BaseModel):
        """As `Settings`, but particular."""

        api_key: Annotated[SecretStr | None, Field(min_length=5), variable_of("api_key")] = None

    monkeypatch.setattr(loading, "Settings", Strict)
    # When it is loaded, the error names the variable only
    with pytest.raises(InvalidSettings) as refused:
        load({"API_KEY": "abcd"})
    assert "API_KEY" in str(refused.value)
    assert "abcd" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DANQING_S3_ENDPOINT", "http://user:sesame@host/"),
        ("DANQING_S3_ENDPOINT", "user:sesame@host"),
        ("DANQING_S3_PUBLIC_ENDPOINT", "https://host/?X-Amz-Signature=sesame"),
        ("DANQING_OBJECT_STORE", "s3://KEY:sesame@bucket/x"),
        ("DANQING_PUBLIC_URL", "https://user:sesame@host/"),
        ("DANQING_PUBLIC_URL", "https://user:sesame"),
        ("DANQING_ALLOWED_ORIGINS", "https://a.example,https://user:sesame@b.example"),
        ("DANQING_ALLOWED_ORIGINS", "https://user:sesame"),
        ("DANQING_ALLOWED_ORIGINS", "https://a.example/?token=sesame"),
    ],
)
def test_what_stands_in_a_wrong_address_is_not_told(name: str, value: str) -> None:
    with pytest.raises(InvalidSettings, match=name) as refused:
        load({name: value})
    assert "sesame" not in str(refused.value)


def test_every_variable_of_the_other_vendors_is_read() -> None:
    settings = load(
        {
            "API_ENABLE_AUTH": "true",
            "API_ADMIN_KEY": "admin",
            "API_ALLOWED_KEYS": "client-key-1, client-key-2",
            "API_KEY": "your-secret-key",
            "QWEN_MODEL_DIR": "/path/to/qwen/models",
            "DEVICE_MAP": "balanced",
        }
    )
    assert settings.enable_auth is True
    assert settings.admin_key is not None
    assert settings.admin_key.get_secret_value() == "admin"
    assert [key.get_secret_value() for key in settings.allowed_keys] == ["client-key-1", "client-key-2"]
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "your-secret-key"
    assert (settings.model, settings.device_map) == ("/path/to/qwen/models", "balanced")


def test_further_models_are_a_list_beside_the_default_one() -> None:
    settings = load({"MODEL_NAME": "a", "DANQING_MODELS": "b, ./c,org/d", "DANQING_PRECISION": "sdnq-int8"})
    assert (settings.model, settings.models, settings.precision) == ("a", ("b", "./c", "org/d"), "sdnq-int8")
    with pytest.raises(InvalidSettings, match=r"DANQING_PRECISION: 'int8': .*'sdnq-uint4'"):
        load({"DANQING_PRECISION": "int8"})


def test_model_aliases_are_pairs() -> None:
    settings = load({"DANQING_MODEL_ALIASES": "flux1-dev=default, mine*=sample"})
    assert [str(alias) for alias in settings.model_aliases] == ["flux1-dev=default", "mine*=sample"]
    with pytest.raises(InvalidSettings, match="DANQING_MODEL_ALIASES"):
        load({"DANQING_MODEL_ALIASES": "flux1-dev"})


@pytest.mark.parametrize("name", ["API_KEY", "API_ADMIN_KEY", "API_ALLOWED_KEYS"])
def test_blanks_around_a_key_are_none_of_it(name: str) -> None:
    settings = load({name: "  open sesame\n"})
    keys = [settings.api_key, settings.admin_key, *settings.allowed_keys]
    assert [key.get_secret_value() for key in keys if key is not None] == ["open sesame"]


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://studio.example", "https://studio.example/"),
        ("https://studio.example/", "https://studio.example/"),
        (" http://10.0.0.1:8000/pictures/ ", "http://10.0.0.1:8000/pictures/"),
        ("https://[2001:db8::1]/a/b", "https://[2001:db8::1]/a/b/"),
    ],
)
def test_the_public_address_ends_with_a_slash(text: str, url: str) -> None:
    assert load({"DANQING_PUBLIC_URL": text}).public_url == url


@pytest.mark.parametrize(
    "text",
    ["studio.example", "ftp://studio.example", "https://", "https:///x", "https://a@studio.example", "https://a/?b=c",
     "https://a/#b", "https://a:port", "https://a:99999", "https://a b/", "https://a/b c"],
)  # fmt: skip
def test_a_public_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidSettings, match="DANQING_PUBLIC_URL"):
        load({"DANQING_PUBLIC_URL": text})


def test_settings_never_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().port = 1  # pyright: ignore[reportAttributeAccessIssue]


def rows() -> dict[str, str]:
    """The line of docs/configuration.md that each setting needs."""
    made: dict[str, str] = {}
    for name, info in Settings.model_fields.items():
        variable = variable_of(name)
        alias = ", ".join(f"`{alias}`" for alias in variable.aliases)
        shown = str(info.default).lower() if isinstance(info.default, bool) else info.default
        if isinstance(shown, tuple):
            shown = ",".join(str(part) for part in cast("tuple[object, ...]", shown)) or None
        default = "" if shown in (None, ()) else f"`{shown}`"
        made[name] = (
            f"| `DANQING_{name.upper()}` | {alias} | {default} | {variable.unit} | {info.description} "
            f"| {variable.read_by} |"
        )
    return made


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_is_documented(name: str) -> None:
    assert rows()[name] in (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    aliases = variable_of(name).aliases
    comment = f"# {Settings.model_fields[name].description}" + (f" Alias: {', '.join(aliases)}." if aliases else "")
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert f"{comment}\n#DANQING_{name.upper()}=" in example
