"""The fingerprint of a request: equal fingerprints give equal pictures."""

import dataclasses
import hashlib
import hmac
import json

from danqing.core.types import GenerationRequest

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(GenerationRequest)}
_CANONICAL = json.JSONEncoder(default=vars, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def fingerprint(request: GenerationRequest, *, owner: str = "", secret: bytes = b"") -> str:
    """SHA-256 over the canonical request, 64 hex digits; keyed by secret and owner when a secret is given.

    The keyed form cannot be computed by someone who guesses another owner's request, so it is no oracle. Fields that
    have their default are left out, so that a field which a later version adds changes no fingerprint.
    """
    said = {name: value for name, value in vars(request).items() if value != _DEFAULTS[name]}
    canonical = _CANONICAL.encode(said)
    if secret:
        return hmac.new(secret, f"{owner}\0{canonical}".encode(), hashlib.sha256).hexdigest()
    return hashlib.sha256(canonical.encode()).hexdigest()
