"""What every ArtifactStore must do. A test module has a `store` fixture and a subclass that names its class."""

import asyncio
import multiprocessing
import os
import pickle
import random
import re
import time
import uuid
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest

from danqing.core.errors import ArtifactNotFound, StorageFailure
from danqing.core.picture_ports import ArtifactStore
from tests.fakes.pictures import pictures_in

ILLEGAL = ["", ".", "..", "../a.png", "a/b.png", "/etc/passwd", "a..png", ".hidden.png", "-a.png", "a b.png", "a\0.png"]
ILLEGAL += ["a\n", "画.png", "a" * 202, "a\\b.png"]

INPUT = f"input-{'0123456789abcdef' * 4}.png"
TWO_HOURS_S = 7200


async def opened(store: ArtifactStore, name: str) -> None:
    (await store.open(name)).close()


def write_again_and_again(store: ArtifactStore, number: int) -> None:
    for _ in range(100):
        store.write("a.png", bytes([number]) * 100_000 * (number + 1))


class ArtifactStoreContract:
    """The suite."""

    implementation: ClassVar[type]

    def later(self, store: ArtifactStore) -> ArtifactStore:
        """The same place as it is seen in two hours."""
        raise NotImplementedError

    def test_is_the_implementation_meant(self, store: ArtifactStore) -> None:
        assert type(store) is self.implementation

    def test_what_is_written_is_read(self, store: ArtifactStore) -> None:
        store.write("a-1.png", b"picture")
        assert store.read("a-1.png") == b"picture"

    def test_an_equal_name_is_replaced(self, store: ArtifactStore) -> None:
        store.write("a.png", b"a longer first picture")
        store.write("a.png", b"second")
        assert store.read("a.png") == b"second"

    def test_an_absent_picture_is_not_found(self, store: ArtifactStore) -> None:
        for _ in range(2):
            for look in (store.read, store.size, store.age_s):
                with pytest.raises(ArtifactNotFound):
                    look("a.png")
            with pytest.raises(ArtifactNotFound):
                asyncio.run(opened(store, "a.png"))
            store.write("b.png", b"picture")

    @pytest.mark.parametrize("name", ILLEGAL, ids=repr)
    def test_an_illegal_name_is_neither_written_nor_found(self, store: ArtifactStore, name: str) -> None:
        store.write("a.png", b"picture")
        with pytest.raises(StorageFailure):
            store.write(name, b"picture")
        for look in (store.read, store.size, store.age_s):
            with pytest.raises(ArtifactNotFound):
                look(name)
        with pytest.raises(ArtifactNotFound):
            asyncio.run(opened(store, name))
        with pytest.raises(StorageFailure):
            store.remove(name)

    def test_a_staged_file_is_taken_over(self, store: ArtifactStore) -> None:
        # Given a file in the place for such
        staged = store.staging() / "upload"
        staged.write_bytes(b"picture")
        # When it is adopted
        store.adopt(staged, INPUT)
        # Then it is a picture, and nowhere else
        assert store.read(INPUT) == b"picture"
        assert not staged.exists()
        assert store.staging() == staged.parent

    def test_a_staged_file_replaces_an_equal_name(self, store: ArtifactStore) -> None:
        store.write(INPUT, b"a longer first picture")
        staged = store.staging() / "upload"
        staged.write_bytes(b"second")
        store.adopt(staged, INPUT)
        assert store.read(INPUT) == b"second"

    @pytest.mark.parametrize("name", ILLEGAL, ids=repr)
    def test_nothing_is_taken_over_under_an_illegal_name(self, store: ArtifactStore, name: str) -> None:
        staged = store.staging() / "upload"
        staged.write_bytes(b"picture")
        with pytest.raises(StorageFailure):
            store.adopt(staged, name)
        assert staged.read_bytes() == b"picture"

    def test_a_file_that_is_not_there_cannot_be_taken_over(self, store: ArtifactStore) -> None:
        store.write(INPUT, b"picture")
        with pytest.raises(StorageFailure):
            store.adopt(store.staging() / "upload", INPUT)
        assert store.read(INPUT) == b"picture"

    def test_many_adopt_one_picture(self, store: ArtifactStore) -> None:
        # Given one picture that many clients sent
        def adopt(number: int) -> None:
            staged = store.staging() / f"upload-{number}"
            staged.write_bytes(b"picture")
            store.adopt(staged, INPUT)

        # When all are adopted at once, then it is there, and nothing is staged any more
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(adopt, range(32)))
        assert store.read(INPUT) == b"picture"
        assert list(store.staging().iterdir()) == []

    def test_the_location_can_be_told_before_and_after(self, store: ArtifactStore) -> None:
        before = store.location("a.png")
        store.write("a.png", b"picture")
        assert store.location("a.png") == before
        assert before.endswith("a.png")

    def test_a_removed_picture_is_gone_and_others_stay(self, store: ArtifactStore) -> None:
        store.write("a.png", b"picture")
        store.write("b.png", b"picture")
        store.remove("a.png")
        store.remove("a.png")  # a second time does nothing
        with pytest.raises(ArtifactNotFound):
            store.read("a.png")
        assert store.size("b.png") == 7
        with pytest.raises(StorageFailure):
            store.remove("../b.png")

    def test_a_sweep_takes_the_pictures_of_the_given_jobs_only(self, store: ArtifactStore) -> None:
        # Given the pictures of a job that crashed before they were recorded, and those of another job
        crashed, other = str(uuid.uuid4()), str(uuid.uuid4())
        pictures = (f"{crashed}.png", f"{crashed}.webp", f"{crashed}-upscaled.png")
        for name in (*pictures, f"{other}.png", f"{other}-upscaled.png", INPUT):
            store.write(name, b"picture")
        # When the store is swept
        removed = store.sweep({crashed: frozenset(), str(uuid.uuid4()): frozenset()})
        # Then the first are gone, the others are not, nor is a picture that was sent in
        assert removed == 3
        for name in (f"{other}.png", f"{other}-upscaled.png", INPUT):
            assert store.read(name) == b"picture"
        for name in pictures:
            with pytest.raises(ArtifactNotFound):
                store.read(name)

    def test_a_sweep_leaves_what_a_job_has_and_takes_the_rest(self, store: ArtifactStore) -> None:
        # Given a job whose second picture was written before it failed, and was not recorded
        job = str(uuid.uuid4())
        for name in (f"{job}.png", f"{job}-upscaled.png"):
            store.write(name, b"picture")
        # When the store is swept, then only that one goes
        assert store.sweep({job: frozenset({f"{job}.png"})}) == 1
        assert pictures_in(store) == {job: {f"{job}.png"}}

    def test_pictures_are_told_by_job(self, store: ArtifactStore) -> None:
        # Given pictures of two jobs, an empty one among them, and others
        assert pictures_in(store) == {}
        first, second = str(uuid.uuid4()), str(uuid.uuid4())
        for name in (f"{first}.png", f"{first}.webp", f"{second}.png", INPUT, "a.png"):
            store.write(name, b"picture")
        store.write(f"{second}.webp", b"")
        # Then those of jobs are told, and the empty one is none
        assert pictures_in(store) == {first: {f"{first}.png", f"{first}.webp"}, second: {f"{second}.png"}}

    def test_pictures_are_told_page_by_page(self, store: ArtifactStore) -> None:
        # Given nothing, then there is one page, for all names that there may be
        (empty,) = store.picture_pages()
        assert (empty.pictures, empty.after, empty.before) == ({}, "", None)
        # Given pictures of several jobs
        written: dict[str, frozenset[str]] = {}
        for _ in range(7):
            job = str(uuid.uuid4())
            written[job] = frozenset(f"{job}{end}" for end in (".png", ".webp", "-upscaled.png"))
            for name in written[job]:
                store.write(name, b"picture")
        # When they are looked at four names at a time
        pages = list(store.picture_pages(names_at_once=4))
        # Then each page has whole jobs, in order, and says from where to where it goes
        assert [len(page.pictures) for page in pages] == [2, 2, 2, 1]
        assert [list(page.pictures) for page in pages] == [sorted(page.pictures) for page in pages]
        assert {job: names for page in pages for job, names in page.pictures.items()} == written
        assert (pages[0].after, pages[-1].before) == ("", None)
        assert [page.before for page in pages[:-1]] == [page.after for page in pages[1:]]
        for page in pages:
            names = [name for names in page.pictures.values() for name in names]
            assert all(name > page.after and (page.before is None or name < page.before) for name in names)

    def test_many_are_removed_at_once(self, store: ArtifactStore) -> None:
        # Given some pictures
        for name in ("a.png", "b.png", "c.png"):
            store.write(name, b"picture")
        # When some are removed, one of which is not there, and one cannot be
        assert store.remove_all(["a.png", "none.png", "../b.png", "c.png"]) == {"../b.png"}
        # Then the others are there
        assert store.read("b.png") == b"picture"
        for name in ("a.png", "c.png"):
            with pytest.raises(ArtifactNotFound):
                store.read(name)

    def test_input_images_are_told_once_they_are_old(self, store: ArtifactStore) -> None:
        assert store.old_inputs() == frozenset()
        assert store.inputs() == {}
        for name in (INPUT, "input-1.png", f"x{INPUT}", f"{uuid.uuid4()}.png"):
            store.write(name, b"picture")
        assert store.inputs() == {INPUT: 7}
        assert store.old_inputs() == frozenset()
        assert self.later(store).old_inputs() == {INPUT}

    def test_a_picture_has_its_age_from_when_it_was_last_written(self, store: ArtifactStore) -> None:
        # Given a picture
        store.write(INPUT, b"picture")
        assert 0 <= store.age_s(INPUT) < TWO_HOURS_S / 2
        # When time passes, it is older
        later = self.later(store)
        assert later.age_s(INPUT) > TWO_HOURS_S - 60

    def test_a_sweep_of_what_is_old_leaves_what_is_new(self, store: ArtifactStore) -> None:
        # Given a picture that no job has recorded, while others may just be about to
        job = str(uuid.uuid4())
        store.write(f"{job}.png", b"picture")
        known = {job: frozenset[str]()}
        # When what is older than an hour is swept, then it goes once it is
        assert store.sweep(known, older_than_s=3600) == 0
        assert store.read(f"{job}.png") == b"picture"
        assert self.later(store).sweep(known, older_than_s=3600) == 1
        assert pictures_in(store) == {}

    def test_what_is_staged_goes_once_it_is_old(self, store: ArtifactStore) -> None:
        # Given staged files: one as old as a crash, one that a process is about to adopt
        old, new = store.staging() / "old.png", store.staging() / "new.png"
        for path in (old, new):
            path.write_bytes(b"picture")
        os.utime(old, (time.time() - TWO_HOURS_S, time.time() - TWO_HOURS_S))
        # When the place is swept, then the first is gone
        assert store.sweep({}) == 1
        assert list(store.staging().iterdir()) == [new]

    def test_only_a_file_is_taken_over(self, tmp_path: Path, store: ArtifactStore) -> None:
        # Given a link, a folder and a pipe
        secret = tmp_path / "secret"
        secret.write_bytes(b"secret")
        staging = store.staging()
        (staging / "link").symlink_to(secret)
        (staging / "folder").mkdir()
        os.mkfifo(staging / "pipe")
        # Then none of them becomes a picture
        for name in ("link", "folder", "pipe"):
            with pytest.raises(StorageFailure):
                store.adopt(staging / name, "a.png")
            assert os.path.lexists(staging / name)
        with pytest.raises(ArtifactNotFound):
            store.read("a.png")

    @pytest.mark.parametrize("size_bytes", [0, 1, 5_000_000, 40_000_000])
    async def test_a_picture_is_read_piece_by_piece(self, store: ArtifactStore, size_bytes: int) -> None:
        # Given a picture, possibly a large one
        content = random.Random(size_bytes).randbytes(size_bytes)
        store.write("a.png", content)
        assert (store.size("a.png"), store.read("a.png")) == (size_bytes, content)
        # When it is opened
        picture = await store.open("a.png")
        # Then its size is known, and it comes in pieces of which each fits into memory many times
        assert picture.size_bytes == size_bytes
        pieces: list[bytes] = []
        while piece := await picture.read():
            pieces.append(piece)
        assert b"".join(pieces) == content
        assert max(map(len, pieces), default=0) <= 4 * 1024 * 1024
        assert await picture.read() == b""
        picture.close()
        picture.close()

    async def test_a_picture_that_is_open_is_read_whole_though_it_is_removed(self, store: ArtifactStore) -> None:
        store.write("a.png", b"picture" * 100)
        picture = await store.open("a.png")
        store.remove("a.png")
        assert await picture.read() == b"picture" * 100
        picture.close()

    async def test_another_content_is_another_version(self, store: ArtifactStore) -> None:
        versions: list[str] = []
        for content in (b"first", b"other"):
            store.write("a.png", content)
            picture = await store.open("a.png")
            versions.append(picture.version)
            picture.close()
        assert versions[0] != versions[1]
        assert all(re.fullmatch(r"[\x21\x23-\x7e]+", version) for version in versions)

    def test_processes_that_write_and_read_one_name_never_see_half_a_picture(self, store: ArtifactStore) -> None:
        # Given two processes that write pictures of different lengths under one name, again and again
        store.write("a.png", bytes(100_000))
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
            writers = [pool.submit(write_again_and_again, store, number) for number in (1, 2)]
            # When it is read meanwhile, then every time it is one of them, whole
            while not all(writer.done() for writer in writers):
                content = store.read("a.png")
                assert len(content) == 100_000 * (content[0] + 1)
                assert content == content[:1] * len(content)
            for writer in writers:
                writer.result(60)

    def test_many_writers_of_one_name_leave_one_whole_picture(self, store: ArtifactStore) -> None:
        contents = [bytes([n]) * 100_000 for n in range(16)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda content: store.write("a.png", content), contents))
        assert store.read("a.png") in contents
        assert store.sweep({}) == 0

    def test_it_works_in_another_process(self, store: ArtifactStore) -> None:
        # Given a copy that went through a pipe into a worker process
        assert pickle.loads(pickle.dumps(store)).location("a.png") == store.location("a.png")
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            pool.submit(store.write, "a.png", b"picture").result(60)
        # Then the server sees what it wrote
        assert store.read("a.png") == b"picture"
