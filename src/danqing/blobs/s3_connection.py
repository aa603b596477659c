"""How the S3 library is told where a place is, who we are, and how patient to be."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from obstore.store import S3Store

from danqing.blobs.s3_place import S3Patience, S3Place

if TYPE_CHECKING:
    from obstore.store import ClientConfig


def connected(place: S3Place, endpoint: str | None, patience: S3Patience) -> S3Store:
    """Does not reach out."""
    config: dict[str, Any] = {  # Any: the library's own type for it is there for type checkers alone
        "region": place.region,
        "virtual_hosted_style_request": not place.path_style,
        "endpoint": endpoint,
        "access_key_id": place.access_key_id,
        "secret_access_key": place.secret_access_key,
        "session_token": place.session_token,
    }
    options: ClientConfig = {
        "allow_http": (endpoint or "").startswith("http://"),
        "connect_timeout": timedelta(seconds=patience.connect_s),
        "timeout": timedelta(seconds=patience.request_s),
    }
    if place.authorities is not None:
        options["root_certificate"] = place.authorities
    return S3Store(
        place.bucket,
        prefix=place.prefix or None,
        config={key: value for key, value in config.items() if value is not None},  # pyright: ignore[reportArgumentType]
        client_options=options,
        retry_config={
            "max_retries": patience.retries,
            "retry_timeout": timedelta(seconds=patience.retry_s),
            "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=2), "base": 2},
        },
    )
