"""What every ArtifactStore must do. A test module has a `store` fixture and a subclass that names its class."""

import multiprocessing
import os
import pickle
import uuid
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import ClassVar

import pytest

from danqing.core.errors import ArtifactNotFound, StorageFailure
from danqing.core.ports import ArtifactStore

ILLEGAL = ["", ".", "..", "../a.png", "a/b.png", "/etc/passwd", "a..png", ".hidden.png", "-a.png", "a b.png", "a\0.png"]
ILLEGAL += ["a\n", "画.png", "a" * 202, "a\\b.png"]

INPUT = f"input-{'0123456789abcdef' * 4}.png"


class ArtifactStoreContract:
    """The suite."""

    implementation: ClassVar[type]

    def test_is_the_implementation_meant(self, store: ArtifactStore) -> None:
        assert type(store) is self.implementation

    def test_what_is_written_is_read(self, store: ArtifactStore) -> None:
        store.write("a-1.png", b"picture")
        assert store.path("a-1.png").read_bytes() == b"picture"

    def test_an_equal_name_is_replaced(self, store: ArtifactStore) -> None:
        store.write("a.png", b"a longer first picture")
        store.write("a.png", b"second")
        assert store.path("a.png").read_bytes() == b"second"

    def test_an_absent_picture_is_not_found(self, store: ArtifactStore) -> None:
        with pytest.raises(ArtifactNotFound):
            store.path("a.png")
        store.write("b.png", b"picture")
        with pytest.raises(ArtifactNotFound):
            store.path("a.png")

    @pytest.mark.parametrize("name", ILLEGAL, ids=repr)
    def test_an_illegal_name_is_neither_written_nor_found(self, store: ArtifactStore, name: str) -> None:
        store.write("a.png", b"picture")
        with pytest.raises(StorageFailure):
            store.write(name, b"picture")
        with pytest.raises(ArtifactNotFound):
            store.path(name)

    def test_a_staged_file_is_taken_over(self, store: ArtifactStore) -> None:
        # Given a file in the place for such
        staged = store.staging() / "upload"
        staged.write_bytes(b"picture")
        # When it is adopted
        store.adopt(staged, INPUT)
        # Then it is a picture, and nowhere else
        assert store.path(INPUT).read_bytes() == b"picture"
        assert not staged.exists()
        assert store.staging() == staged.parent

    def test_a_staged_file_replaces_an_equal_name(self, store: ArtifactStore) -> None:
        store.write(INPUT, b"a longer first picture")
        staged = store.staging() / "upload"
        staged.write_bytes(b"second")
        store.adopt(staged, INPUT)
        assert store.path(INPUT).read_bytes() == b"second"

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
        assert store.path(INPUT).read_bytes() == b"picture"

    def test_many_adopt_one_picture(self, store: ArtifactStore) -> None:
        # Given one picture that many clients sent
        def adopt(number: int) -> None:
            staged = store.staging() / f"upload-{number}"
            staged.write_bytes(b"picture")
            store.adopt(staged, INPUT)

        # When all are adopted at once, then it is there, and nothing is staged any more
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(adopt, range(32)))
        assert store.path(INPUT).read_bytes() == b"picture"
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
            store.path("a.png")
        assert store.path("b.png").exists()
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
            assert store.path(name).read_bytes() == b"picture"
        for name in pictures:
            with pytest.raises(ArtifactNotFound):
                store.path(name)

    def test_a_sweep_leaves_what_a_job_has_and_takes_the_rest(self, store: ArtifactStore) -> None:
        # Given a job whose second picture was written before it failed, and was not recorded
        job = str(uuid.uuid4())
        for name in (f"{job}.png", f"{job}-upscaled.png"):
            store.write(name, b"picture")
        # When the store is swept, then only that one goes
        assert store.sweep({job: frozenset({f"{job}.png"})}) == 1
        assert store.pictures() == {job: {f"{job}.png"}}

    def test_pictures_are_told_by_job(self, store: ArtifactStore) -> None:
        # Given pictures of two jobs, an empty one among them, and others
        assert store.pictures() == {}
        first, second = str(uuid.uuid4()), str(uuid.uuid4())
        for name in (f"{first}.png", f"{first}.webp", f"{second}.png", INPUT, "a.png"):
            store.write(name, b"picture")
        store.write(f"{second}.webp", b"")
        # Then those of jobs are told, and the empty one is none
        assert store.pictures() == {first: {f"{first}.png", f"{first}.webp"}, second: {f"{second}.png"}}

    def test_input_images_are_told_once_they_are_old(self, store: ArtifactStore) -> None:
        assert store.old_inputs() == frozenset()
        young = INPUT.replace("0", "f")
        for name in (INPUT, young, "input-1.png", f"x{INPUT}", f"{uuid.uuid4()}.png"):
            store.write(name, b"picture")
            if name != young:
                os.utime(store.path(name), (0, 0))
        assert store.old_inputs() == {INPUT}

    def test_many_writers_of_one_name_leave_one_whole_picture(self, store: ArtifactStore) -> None:
        contents = [bytes([n]) * 100_000 for n in range(16)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda content: store.write("a.png", content), contents))
        assert store.path("a.png").read_bytes() in contents
        assert store.sweep({}) == 0

    def test_it_works_in_another_process(self, store: ArtifactStore) -> None:
        # Given a copy that went through a pipe into a worker process
        assert pickle.loads(pickle.dumps(store)).location("a.png") == store.location("a.png")
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            pool.submit(store.write, "a.png", b"picture").result(60)
        # Then the server sees what it wrote
        assert store.path("a.png").read_bytes() == b"picture"
