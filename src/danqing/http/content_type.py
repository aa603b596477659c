"""What kind of body a request says that it has."""

from email.message import Message


def is_json(content_type: str) -> bool:
    """content_type: the header, as it was sent."""
    header = Message()
    header["content-type"] = content_type
    subtype = header.get_content_subtype()
    return header.get_content_maintype() == "application" and (subtype == "json" or subtype.endswith("+json"))
