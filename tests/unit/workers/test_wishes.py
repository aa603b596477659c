"""Which jobs somebody wants to see previews of."""

from danqing.workers.wishes import PreviewWishes


def test_a_wish_lasts_until_it_is_forgotten() -> None:
    wishes = PreviewWishes()
    wishes.remember("a")
    wishes.remember("a")
    assert "a" in wishes
    assert "b" not in wishes
    wishes.forget("a")
    wishes.forget("b")
    assert len(wishes) == 0


def test_too_many_wishes_push_out_the_oldest() -> None:
    # Given as many wishes as are kept, the first of them wished for again
    wishes = PreviewWishes(most=3)
    for job_id in ("a", "b", "c", "a"):
        wishes.remember(job_id)
    assert len(wishes) == 3
    # When there is one more
    wishes.remember("d")
    # Then the oldest is gone
    assert [job_id for job_id in "abcd" if job_id in wishes] == ["b", "c", "d"]
