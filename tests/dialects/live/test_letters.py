"""What many are told is put into words once."""

from dataclasses import replace

from danqing.core.states import JobState
from danqing.core.types import EncodedPicture, Progress, Stage
from danqing.dialects.live.letters import JobNews, Letter, Step
from danqing.dialects.live.translate_out import from_job, from_progress, to_text
from danqing.http.frames import text_frame
from tests.fakes.domain import a_job

PICTURE = EncodedPicture(width=1, height=1, media_type="image/jpeg", content=b"abc")
PROGRESS = Progress(stage=Stage.DENOISING, step=1, total_steps=2)


def unsigned(path: str) -> str:
    return path


def test_a_step_has_the_words_of_the_wire_made_once() -> None:
    step = Step(job_id="j", progress=PROGRESS, preview=PICTURE)

    assert step.text == to_text(from_progress("j", PROGRESS, PICTURE))
    assert step.frame == text_frame(step.text)
    assert (step.text is step.text, step.frame is step.frame) == (True, True)


def test_a_step_without_its_preview_is_made_once_too() -> None:
    step = Step(job_id="j", progress=PROGRESS, preview=PICTURE)
    plain = step.without_preview

    assert plain == Step(job_id="j", progress=PROGRESS)
    assert plain.text == to_text(from_progress("j", PROGRESS, None)) != step.text
    assert step.without_preview is plain
    assert plain.without_preview is plain


def test_a_letter_has_its_frame() -> None:
    letter = Letter(text="画")

    assert letter.frame == text_frame("画")
    assert letter.frame is letter.frame


def test_a_letter_is_as_large_as_its_text_in_memory() -> None:
    plain, wide = Letter(text="x" * 1000), Letter(text="x" * 999 + "😀")

    assert 1000 <= plain.size_bytes < 1100
    assert 4000 <= wide.size_bytes < 4100


def test_news_of_a_job_are_written_once_for_each_state_and_request_id() -> None:
    job = replace(a_job(), state=JobState.CANCELLED)
    news = JobNews(job, unsigned)

    for state in (JobState.PENDING, JobState.CANCELLED):
        for request_id in ("r1", "r2", None):
            letter = news.letter(state, request_id)
            assert letter.text == to_text(from_job(job, request_id=request_id, sign=unsigned, state=state))
            assert letter.final_of == (job.id if state is JobState.CANCELLED else None)
            assert news.letter(state, request_id) is letter
