"""Rows and files after a crash, over the real store and a real directory."""

import os
import time
from pathlib import Path

from danqing.blobs.local import LEFT_OVER_AFTER_S, LocalArtifactStore
from danqing.core.images import ImageRef
from danqing.core.reconciling import reconcile
from danqing.core.types import Mode
from danqing.store.sqlite import SqliteStores
from tests.fakes.domain import LOST, NO_LIMIT, a_job, a_request, an_enlarged, an_original, later


async def test_rows_and_files_agree_afterwards(tmp_path: Path) -> None:
    # Given a job with its picture, one that lost it, one that failed after a second picture was written, and one that
    # wrote a picture and half of another before it was recorded at all
    stores = SqliteStores.open(tmp_path / "jobs.db")
    store, artifacts = stores.jobs, LocalArtifactStore(tmp_path / "outputs")
    whole, bare, failed, crashed = [await store.add(a_job(fingerprint=str(n)), NO_LIMIT) for n in range(4)]
    for job in (whole, bare, failed):
        await store.claim(job.id, "w1", later())
    for job in (whole, bare):
        await store.complete(job.id, 1, [an_original(job)], [], later())
    await store.generate(failed.id, 1, [an_original(failed)], [], later())
    await store.fail(failed.id, 1, LOST, later())
    for job in (whole, failed, crashed):
        artifacts.write(an_original(job).name, b"picture")
    artifacts.write(an_enlarged(failed).name, b"picture")
    half = tmp_path / "outputs" / f".danqing-{an_enlarged(crashed).name}-{'0' * 32}.tmp"
    half.write_bytes(b"half a pict")
    # When both are brought together
    done = await reconcile(store, artifacts, stores.kept)
    # Then what no job has is gone, and what is missing is known
    assert (done.swept, done.missing) == (3, 1)
    assert artifacts.pictures() == {whole.id: {an_original(whole).name}, failed.id: {an_original(failed).name}}
    assert not half.exists()
    assert await store.find_equal(bare.owner, "1") is None
    found = await store.find_equal(whole.owner, "0")
    assert found is not None
    # And a second time there is nothing to do, until the picture is back
    assert (await reconcile(store, artifacts, stores.kept)).swept == 0
    artifacts.write(an_original(bare).name, b"picture")
    assert (await reconcile(store, artifacts, stores.kept)).missing == 0
    assert await store.find_equal(bare.owner, "1") is not None
    await stores.close()


async def test_a_place_that_is_away_costs_no_row(tmp_path: Path) -> None:
    # Given a job whose pictures lie on a disk that is not there just now
    stores = SqliteStores.open(tmp_path / "jobs.db")
    job = await stores.jobs.add(a_job(), NO_LIMIT)
    await stores.jobs.claim(job.id, "w1", later())
    await stores.jobs.complete(job.id, 1, [an_original(job)], [], later())
    # When a server starts
    done = await reconcile(stores.jobs, LocalArtifactStore(tmp_path / "not mounted"), stores.kept)
    # Then the job keeps what it has
    assert done.missing == 1
    assert (await stores.jobs.get(job.id)).artifacts == (an_original(job),)
    await stores.close()


async def test_an_input_picture_that_no_job_has_goes_when_it_is_old(tmp_path: Path) -> None:
    # Given old pictures that were sent, of which a job starts from one; a young one; and other files
    stores = SqliteStores.open(tmp_path / "jobs.db")
    outputs = tmp_path / "outputs"
    artifacts = LocalArtifactStore(outputs)
    used, lost, young = (f"input-{digit * 64}.png" for digit in "abc")
    image = ImageRef(name=used, width=8, height=8)
    await stores.jobs.add(a_job(request=a_request(mode=Mode.IMG2IMG, input_images=(image,))), NO_LIMIT)
    foreign = ("input-1.png", f"input-{'d' * 64}.jpg", f"my-{lost}")
    old = time.time() - LEFT_OVER_AFTER_S - 60
    for name in (used, lost, young, *foreign):
        artifacts.write(name, b"picture")
        if name != young:
            os.utime(outputs / name, (old, old))
    # While there is a picture of a job of another server, then it may be that server's
    theirs = an_original(a_job()).name
    artifacts.write(theirs, b"picture")
    assert (await reconcile(stores.jobs, artifacts, stores.kept)).swept == 0
    # Otherwise it goes, and nothing else
    artifacts.remove(theirs)
    assert (await reconcile(stores.jobs, artifacts, stores.kept)).swept == 1
    assert {path.name for path in outputs.iterdir()} == {used, young, *foreign}
    await stores.close()
