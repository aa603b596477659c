"""Input images become a job's, or go again; one that several submits are busy with stays while one needs it."""

import asyncio
import hashlib
import os
import threading
from pathlib import Path

import pytest

from danqing.blobs import local
from danqing.blobs.local import LocalArtifactStore
from danqing.core.errors import ArtifactNotFound, StorageFailure, Unavailable
from danqing.core.images import StagedImage, ref_of
from danqing.core.place_guard import GuardRules
from danqing.core.taking_over import InputImages


class Folder:
    """A store, and staged pictures beside it."""

    def __init__(self, root: Path, kind: type[LocalArtifactStore] = LocalArtifactStore) -> None:
        self._root = root
        self.store = kind(root / "outputs")
        self.inputs = InputImages(self.store)
        self._count = 0

    def staged(self, content: bytes = b"a picture") -> StagedImage:
        self._count += 1
        path = self._root / f"staged-{self._count}"
        path.write_bytes(content)
        return StagedImage(path=path, sha256=hashlib.sha256(content).hexdigest(), width=8, height=8)

    def has(self, image: StagedImage) -> bool:
        try:
            self.store.path(ref_of(image).name)
        except ArtifactNotFound:
            return False
        return True


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


async def test_what_is_kept_stays(folder: Folder) -> None:
    image = folder.staged()
    async with folder.inputs.taken_over([image, image]) as inputs:
        assert folder.has(image)
        inputs.keep()
    assert folder.has(image)


async def test_what_nobody_kept_goes(folder: Folder) -> None:
    image = folder.staged()
    with pytest.raises(StorageFailure):
        async with folder.inputs.taken_over([image]):
            raise StorageFailure
    assert not folder.has(image)


async def test_what_was_there_before_stays(folder: Folder) -> None:
    async with folder.inputs.taken_over([folder.staged()]) as inputs:
        inputs.keep()
    again = folder.staged()
    async with folder.inputs.taken_over([again]):
        pass
    assert folder.has(again)


async def test_nobody_goes_by_a_picture_that_another_is_about_to_put_on_the_disk(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a submit whose picture has its name, which is not on the disk yet
    renamed, go_on, synced = threading.Event(), threading.Event(), list[Path]()
    sync = local.sync_directory

    def held(path: Path) -> None:
        renamed.set()
        assert go_on.wait(20)
        sync(path)
        synced.append(path)

    monkeypatch.setattr(local, "sync_directory", held)
    first = asyncio.create_task(accepted(folder, folder.staged()))
    assert await asyncio.to_thread(renamed.wait, 20)
    # When another with the same picture comes
    async with asyncio.timeout(20):
        asyncio.get_running_loop().call_later(0.1, go_on.set)
        async with folder.inputs.taken_over([folder.staged()]) as second:
            # Then it is taken over once the name is on the disk
            assert synced
            second.keep()
        await first


async def test_of_two_submits_with_one_picture_one_that_is_accepted_is_enough(folder: Folder) -> None:
    image = folder.staged()
    # The one that came first is refused last
    async with folder.inputs.taken_over([image]), folder.inputs.taken_over([folder.staged()]) as second:
        second.keep()
    assert folder.has(image)


async def test_of_two_submits_with_one_picture_the_last_refused_takes_it_away(folder: Folder) -> None:
    image = folder.staged()
    async with folder.inputs.taken_over([image]):
        async with folder.inputs.taken_over([folder.staged()]):
            pass
        assert folder.has(image)
    assert not folder.has(image)


async def test_a_staged_file_that_is_gone_is_told_and_leaves_no_trace(folder: Folder) -> None:
    there, gone = folder.staged(b"there"), folder.staged(b"gone")
    gone.path.unlink()
    with pytest.raises(StorageFailure):
        async with folder.inputs.taken_over([there, gone]):
            pytest.fail("one of them is not there")
    assert not folder.has(there)


class Held(LocalArtifactStore):
    """Says that it was asked, and does nothing until it may. fails: names that cannot be removed."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked, self.go_on = threading.Event(), threading.Event()
        self.fails: set[str] = set()

    def hold(self) -> None:
        self.asked.set()
        assert self.go_on.wait(10)

    def remove(self, name: str) -> None:
        self.hold()
        if name in self.fails:
            raise StorageFailure
        super().remove(name)


class HeldAfterwards(Held):
    """Has the picture, and says so late."""

    def adopt(self, staged: Path, name: str) -> None:
        super().adopt(staged, name)
        self.hold()


class HeldBoth(HeldAfterwards):
    """Finds a picture late, too."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.found, self.look_on = threading.Event(), threading.Event()

    def path(self, name: str) -> Path:
        path = super().path(name)
        self.found.set()
        assert self.look_on.wait(10)
        return path


class Unsynced(LocalArtifactStore):
    """Has the picture, and fails nevertheless."""

    def adopt(self, staged: Path, name: str) -> None:
        super().adopt(staged, name)
        raise StorageFailure


async def test_a_picture_that_was_stored_by_halves_goes(tmp_path: Path) -> None:
    folder = Folder(tmp_path, Unsynced)
    image = folder.staged()
    with pytest.raises(StorageFailure):
        await accepted(folder, image)
    assert not folder.has(image)


async def refused(folder: Folder, *images: StagedImage) -> None:
    async with folder.inputs.taken_over(images):
        raise ValueError("a refusal")


async def accepted(folder: Folder, image: StagedImage) -> None:
    async with folder.inputs.taken_over([image]) as inputs:
        inputs.keep()


async def test_a_picture_that_comes_again_while_it_is_removed_is_there_for_its_job(tmp_path: Path) -> None:
    # Given a picture that nobody kept, and whose removal is under way
    folder = Folder(tmp_path, Held)
    assert isinstance(folder.store, Held)
    going = asyncio.create_task(refused(folder, folder.staged()))
    assert await asyncio.to_thread(folder.store.asked.wait, 10)
    # When it is sent again, and the janitor wants it gone
    again = folder.staged()
    coming = asyncio.create_task(accepted(folder, again))
    await asyncio.sleep(0)
    assert ref_of(again).name not in folder.inputs._names  # it waits, and does not look yet
    assert await folder.inputs.remove_unused([ref_of(again).name], nothing) == {ref_of(again).name}
    folder.store.go_on.set()
    # Then its job has it
    with pytest.raises(ValueError, match="a refusal"):
        await going
    await coming
    assert folder.has(again)


async def nothing() -> frozenset[str]:
    return frozenset()


async def test_who_is_cut_off_leaves_no_picture_that_comes_late(tmp_path: Path) -> None:
    folder = Folder(tmp_path, HeldAfterwards)
    assert isinstance(folder.store, Held)
    image = folder.staged()
    submitting = asyncio.create_task(accepted(folder, image))
    assert await asyncio.to_thread(folder.store.asked.wait, 10)
    submitting.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert ref_of(image).name in folder.inputs._names  # it is busy until the thread has ended
    folder.store.go_on.set()
    await asyncio.gather(submitting, return_exceptions=True)
    assert not folder.has(image)


async def test_of_two_that_bring_one_picture_at_once_neither_forgets_that_it_is_new(tmp_path: Path) -> None:
    # Given one that has stored the picture, but not heard of it yet, when the other finds it there
    folder = Folder(tmp_path, HeldBoth)
    assert isinstance(folder.store, HeldBoth)
    image, again = folder.staged(), folder.staged()
    first = asyncio.create_task(refused(folder, image))
    assert await asyncio.to_thread(folder.store.asked.wait, 10)
    second = asyncio.create_task(refused(folder, again))
    assert await asyncio.to_thread(folder.store.found.wait, 10)
    # When the first hears of it, and is refused, before the second hears
    folder.store.go_on.set()
    await asyncio.gather(first, return_exceptions=True)
    folder.store.look_on.set()
    await asyncio.gather(second, return_exceptions=True)
    # Then it goes with the last of them
    assert not folder.has(image)


async def test_a_picture_that_cannot_be_removed_holds_up_nothing(tmp_path: Path) -> None:
    # Given two pictures that nobody kept, of which one stays
    folder = Folder(tmp_path, Held)
    assert isinstance(folder.store, Held)
    folder.store.go_on.set()
    stays, goes = folder.staged(b"stays"), folder.staged(b"goes")
    folder.store.fails = {ref_of(stays).name}
    # Then the client hears his own error, the other one is gone, and both may come again
    with pytest.raises(ValueError, match="a refusal"):
        await refused(folder, stays, goes)
    assert (folder.has(stays), folder.has(goes)) == (True, False)
    folder.store.fails = set()
    names = {ref_of(stays).name, ref_of(goes).name}
    assert await folder.inputs.remove_unused(names, nothing) == set()
    assert not folder.has(stays)


def two_processes(root: Path) -> tuple[Folder, Folder]:
    """Each with what it has in memory, over one place."""
    first, second = Folder(root), Folder(root)
    for folder in (first, second):
        folder.inputs = InputImages(LocalArtifactStore(root / "outputs"), kept_s=3600)
    return first, second


def make_old(folder: Folder, image: StagedImage) -> None:
    path = folder.store.path(ref_of(image).name)
    written = path.stat().st_mtime - 7200
    os.utime(path, (written, written))


async def test_a_picture_that_one_process_refuses_stays_for_the_job_of_another(tmp_path: Path) -> None:
    # Given a process that brings a picture, and another one whose job takes the same one meanwhile
    first, second = two_processes(tmp_path)
    image = first.staged()
    async with first.inputs.taken_over([image]):
        again = StagedImage(path=tmp_path / "again", sha256=image.sha256, width=8, height=8)
        again.path.write_bytes(b"a picture")
        await accepted(second, again)
    # When the first has refused it, then it is there
    assert second.has(again)


async def test_a_process_removes_no_picture_that_another_one_may_want_just_now(tmp_path: Path) -> None:
    # Given an old picture that no job has any more, and that a client sends again to another process
    first, second = two_processes(tmp_path)
    image = first.staged()
    await accepted(first, image)
    make_old(first, image)
    again = StagedImage(path=tmp_path / "again", sha256=image.sha256, width=8, height=8)
    again.path.write_bytes(b"a picture")
    await accepted(second, again)
    # When the first is to remove it, before it sees the job
    left = await first.inputs.remove_unused([ref_of(image).name], nothing)
    # Then it stays, and is looked at again later, when it goes
    assert left == {ref_of(image).name}
    assert second.has(again)
    make_old(first, image)
    assert await first.inputs.remove_unused(left, nothing) == set()
    assert not second.has(again)
    assert await first.inputs.remove_unused({ref_of(image).name}, nothing) == set()  # it is gone already


async def test_while_the_place_does_not_answer_other_work_goes_on(tmp_path: Path) -> None:
    # Given a place that is slow to answer, and many submits with pictures
    folder = Folder(tmp_path, HeldAfterwards)
    assert isinstance(folder.store, Held)
    submits = [asyncio.create_task(accepted(folder, folder.staged(str(number).encode()))) for number in range(100)]
    assert await asyncio.to_thread(folder.store.asked.wait, 10)
    # Then what else needs a thread gets one
    async with asyncio.timeout(10):
        for _ in range(100):
            await asyncio.to_thread(lambda: None)
    assert not any(submit.done() for submit in submits)
    folder.store.go_on.set()
    await asyncio.gather(*submits)


async def test_submits_do_not_queue_for_a_place_that_does_not_answer(tmp_path: Path) -> None:
    # Given a place that takes one picture at a time, and does not answer
    folder = Folder(tmp_path, HeldAfterwards)
    assert isinstance(folder.store, Held)
    folder.inputs = InputImages(folder.store, rules=GuardRules(at_once=1, wait_s=0.01, slow_s=0))
    first = asyncio.create_task(accepted(folder, folder.staged(b"first")))
    assert await asyncio.to_thread(folder.store.asked.wait, 10)
    # When others come, then they are refused, and have left nothing
    others = [folder.staged(str(number).encode()) for number in range(20)]
    answers = await asyncio.gather(*(accepted(folder, image) for image in others), return_exceptions=True)
    assert {type(answer) for answer in answers} == {Unavailable}
    assert not any(folder.has(image) for image in others)
    # And when it answers, then pictures are stored again
    folder.store.go_on.set()
    await first
    await accepted(folder, others[0])
    assert folder.has(others[0])
