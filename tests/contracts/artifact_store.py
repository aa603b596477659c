"""What every ArtifactStore must do. A test module has a `store` fixture and a subclass that names its class."""

import multiprocessing
import pickle
import uuid
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import ClassVar

import pytest

from danqing.core.errors import ArtifactNotFound, StorageFailure
from danqing.core.ports import ArtifactStore

ILLEGAL = ["", ".", "..", "../a.png", "a/b.png", "/etc/passwd", "a..png", ".hidden.png", "-a.png", "a b.png", "a\0.png"]
ILLEGAL += ["a\n", "画.png", "a" * 202, "a\\b.png"]


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
        for name in (f"{crashed}.png", f"{crashed}-preview.webp", f"{other}.png"):
            store.write(name, b"picture")
        # When the store is swept
        removed = store.sweep(frozenset({crashed, str(uuid.uuid4())}))
        # Then the first are gone, the last is not
        assert removed == 2
        assert store.path(f"{other}.png").read_bytes() == b"picture"
        for name in (f"{crashed}.png", f"{crashed}-preview.webp"):
            with pytest.raises(ArtifactNotFound):
                store.path(name)

    def test_many_writers_of_one_name_leave_one_whole_picture(self, store: ArtifactStore) -> None:
        contents = [bytes([n]) * 100_000 for n in range(16)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda content: store.write("a.png", content), contents))
        assert store.path("a.png").read_bytes() in contents
        assert store.sweep(frozenset()) == 0

    def test_it_works_in_another_process(self, store: ArtifactStore) -> None:
        # Given a copy that went through a pipe into a worker process
        assert pickle.loads(pickle.dumps(store)).location("a.png") == store.location("a.png")
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            pool.submit(store.write, "a.png", b"picture").result(60)
        # Then the server sees what it wrote
        assert store.path("a.png").read_bytes() == b"picture"
