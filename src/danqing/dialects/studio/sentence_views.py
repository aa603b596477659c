"""What sentences of the core say, on the studio's wire. Pure."""

from danqing.core.sentences import meant_by
from danqing.dialects.studio.schemas import NoteView, SentenceView


def sentence_of(text: str) -> SentenceView | None:
    """None for one that is told in English only."""
    meant = meant_by(text)
    return SentenceView(code=meant.code, values=dict(meant.values)) if meant else None


def note_of(text: str) -> NoteView:
    """An adjustment."""
    return NoteView(text=text, sentence=sentence_of(text))
