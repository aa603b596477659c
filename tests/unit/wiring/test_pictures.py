"""From settings to the place where pictures are."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from danqing.blobs.local import LocalArtifactStore
from danqing.blobs.s3 import S3ArtifactStore
from danqing.config import InvalidSettings, Settings, load_settings
from danqing.core.errors import StorageFailure
from danqing.wiring import pictures
from danqing.wiring.backup import make_backup, restore_backup
from danqing.wiring.pictures import (
    artifact_factory,
    artifacts_that_may_be_away,
    check_object_store,
    object_place,
    open_artifacts,
    try_again,
)
from tests.services.s3 import SECRET, S3Server


def settings_of(folder: Path, **variables: str) -> Settings:
    return load_settings({"data_dir": folder}, environ=variables, env_file=folder / "no such file")


def s3_settings(s3: S3Server, folder: Path, **variables: str) -> Settings:
    return settings_of(folder, **(s3.environment(folder.name) | variables))


def test_without_a_setting_it_is_the_output_directory(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, OUTPUT_DIR=str(tmp_path / "pictures"))
    artifacts = open_artifacts(settings)
    assert type(artifacts) is LocalArtifactStore
    assert artifacts.location("a.png") == str(tmp_path / "pictures" / "a.png")
    # And a worker builds one of the same place
    artifacts.write("a.png", b"picture")
    assert artifact_factory(settings).build().read("a.png") == b"picture"


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(StorageFailure, match=r"The output directory .*file cannot be made"):
        open_artifacts(settings_of(tmp_path, OUTPUT_DIR=str(tmp_path / "file")))


def test_an_object_store_is_opened_and_built_in_workers(s3: S3Server, tmp_path: Path) -> None:
    # Given settings that name one, and what a server that died on this machine has left staged
    settings = s3_settings(s3, tmp_path)
    staging = tmp_path / "staging"
    staging.mkdir()
    for name in ("old", "new"):
        (staging / name).write_bytes(b"picture")
    os.utime(staging / "old", (time.time() - 7200, time.time() - 7200))
    # When it is opened
    artifacts = open_artifacts(settings)
    # Then it works, here and in a worker, and what was left is gone
    assert type(artifacts) is S3ArtifactStore
    artifacts.write("a.png", b"picture")
    assert artifact_factory(settings).build().read("a.png") == b"picture"
    assert list(artifacts.staging().iterdir()) == [staging / "new"]
    assert check_object_store(settings) == f"s3://pictures/{tmp_path.name}"
    # And no folder was made for pictures
    assert not settings.outputs.exists()


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"DANQING_S3_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch"),
        ({"DANQING_S3_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId"),
        ({"DANQING_OBJECT_STORE": "s3://there-is-none/x"}, "NoSuchBucket"),
        ({"DANQING_S3_ENDPOINT": "http://127.0.0.1:1"}, "no connection"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_that_cannot_be_used_is_told_with_its_reason(
    s3: S3Server, tmp_path: Path, variables: dict[str, str], reason: str
) -> None:
    settings = s3_settings(s3, tmp_path, **variables)
    began = time.monotonic()
    with pytest.raises(StorageFailure) as told:
        open_artifacts(settings)
    assert reason in str(told.value)
    assert SECRET not in str(told.value)
    assert time.monotonic() - began < 15


def test_one_that_does_not_answer_is_told_within_seconds(s3: S3Server, tmp_path: Path) -> None:
    # Given a server that has stopped answering
    settings = s3_settings(s3, tmp_path)
    s3.freeze()
    try:
        with pytest.raises(StorageFailure, match="no answer in time"):
            check_object_store(settings)
    finally:
        s3.thaw()


async def test_a_process_that_has_more_to_do_starts_without_its_object_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an object store that is away
    settings = settings_of(
        tmp_path,
        DANQING_OBJECT_STORE="s3://pictures/x",
        DANQING_S3_ENDPOINT="http://127.0.0.1:1",
        AWS_ACCESS_KEY_ID="a",
        AWS_SECRET_ACCESS_KEY=SECRET,
    )
    monkeypatch.setattr(pictures, "AGAIN_S", 3600.0)
    with structlog.testing.capture_logs() as lines:
        async with artifacts_that_may_be_away(settings) as artifacts:
            # Then there is a store, and who uses it is told that it fails
            assert type(artifacts) is S3ArtifactStore
    said = [line for line in lines if line["event"] == "pictures_place_away"]
    assert len(said) == 1 and "no connection" in said[0]["hint"]
    assert SECRET not in str(lines)


async def test_one_that_says_no_is_not_started_with(s3: S3Server, tmp_path: Path) -> None:
    settings = s3_settings(s3, tmp_path, DANQING_S3_SECRET_ACCESS_KEY="wrong")
    with pytest.raises(StorageFailure, match="SignatureDoesNotMatch"):
        async with artifacts_that_may_be_away(settings):
            pytest.fail("it was started")


async def test_an_object_store_that_was_away_is_tried_until_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given one that does not answer, then refuses a key, then works
    settings = settings_of(tmp_path, DANQING_OBJECT_STORE="s3://pictures/x")
    reasons: list[str | None] = ["no answer in time", "SignatureDoesNotMatch", None]
    place = object_place(settings)
    monkeypatch.setattr(pictures, "_tried", lambda _: (place, reasons.pop(0)))
    # Then it is tried until it works, and each time it is said why it does not
    with structlog.testing.capture_logs() as lines:
        await try_again(settings, every_s=0)
    assert reasons == []
    assert [line["event"] for line in lines] == ["pictures_place_away"] * 2 + ["pictures_place_there"]
    assert "SignatureDoesNotMatch" in lines[1]["hint"]


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, "DANQING_OBJECT_STORE is not set"),
        ({"DANQING_OBJECT_STORE": "s3://pictures", "AWS_ACCESS_KEY_ID": "a"}, "go together"),
        ({"DANQING_OBJECT_STORE": "s3://pictures", "AWS_SECRET_ACCESS_KEY": "a"}, "go together"),
        ({"DANQING_OBJECT_STORE": "s3://pictures", "AWS_CA_BUNDLE": "/no such file"}, "cannot be read"),
    ],
)
def test_half_of_it_is_refused(tmp_path: Path, variables: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidSettings, match=told):
        check_object_store(settings_of(tmp_path, **variables))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DANQING_OBJECT_STORE", "/srv/pictures"),
        ("DANQING_OBJECT_STORE", "s3://key:secret@pictures"),
        ("AWS_ENDPOINT_URL", "s3.example:9000"),
        ("DANQING_S3_ENDPOINT", "https://user:secret@s3.example"),
        ("DANQING_S3_PUBLIC_ENDPOINT", "ftp://s3.example"),
    ],
)
def test_what_is_no_address_is_refused(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(InvalidSettings, match=name):
        settings_of(tmp_path, **{name: value})


def test_redirects_need_an_object_store(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="DANQING_PICTURE_REDIRECTS needs DANQING_OBJECT_STORE"):
        open_artifacts(settings_of(tmp_path, DANQING_PICTURE_REDIRECTS="true"))


def test_the_library_is_asked_for_by_the_name_of_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "find_spec", lambda name: None)
    with pytest.raises(InvalidSettings, match=r"-e '\.\[scaled\]'"):
        open_artifacts(settings_of(tmp_path, DANQING_OBJECT_STORE="s3://pictures"))


def test_the_variables_of_amazons_own_tools_are_understood(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        DANQING_OBJECT_STORE="s3://pictures/a",
        AWS_ENDPOINT_URL="https://s3.example:9000/",
        AWS_DEFAULT_REGION="eu-central-1",
        AWS_ACCESS_KEY_ID="key",
        AWS_SECRET_ACCESS_KEY="open sesame",
        AWS_SESSION_TOKEN="sesame too",
    )
    place = object_place(settings)
    assert (place.bucket, place.prefix, place.endpoint, place.region) == (
        "pictures",
        "a",
        "https://s3.example:9000",
        "eu-central-1",
    )
    assert (place.access_key_id, place.secret_access_key, place.session_token) == ("key", "open sesame", "sesame too")
    assert place.path_style
    assert "sesame" not in f"{settings!r} {settings.masked()} {place!r} {artifact_factory(settings)!r}"
    # Amazon's own store is asked by the bucket's own name, which it wants
    assert not object_place(settings.model_copy(update={"s3_endpoint": None})).path_style
    assert not object_place(settings.model_copy(update={"s3_path_style": False})).path_style
    assert replace(place, endpoint=None).address == "s3://pictures/a"


async def test_a_backup_has_the_pictures_of_an_object_store(s3: S3Server, tmp_path: Path) -> None:
    # Given a server whose pictures are in an object store
    from tests.unit.wiring.test_backup import completed, open_stores

    settings = s3_settings(s3, tmp_path / "data")
    settings.data_dir.mkdir()
    stores, artifacts = open_stores(settings), open_artifacts(settings)
    done = await completed(stores, artifacts)
    await stores.close()
    # When it is backed up, and restored into another one
    report = make_backup(settings, tmp_path / "backup")
    assert (report.pictures, report.missing) == (1, 0)
    other = s3_settings(s3, tmp_path / "other")
    restore_backup(tmp_path / "backup", other)
    # Then the picture is there
    assert done.original is not None
    assert open_artifacts(other).read(done.original.name) == b"picture of " + done.id.encode()
    # And nothing is staged any more
    assert list(open_artifacts(other).staging().iterdir()) == []
