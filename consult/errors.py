"""Errors of the clinical heart, each with a public code; server/problems.py gives status and words."""

from typing import Any, ClassVar

Wrong = tuple[str, str] | tuple[str, str, dict[str, Any]]
"""What is wrong with one field: its path, a reason code (sentences: consult/words.py), what fills the sentence."""


class ConsultError(Exception):
    """Base class. `code` is public and stable; `params` fill the sentence and never hold patient data."""

    code: ClassVar[str] = "consult_error"

    def __init__(self, **params: Any) -> None:
        super().__init__(self.code)
        self.params = params


class NotFound(ConsultError):
    """Absent, or not yours: both answer alike."""

    code = "not_found"


class NotAllowed(ConsultError):
    """Yours to see, but this action is not for this role or part."""

    code = "not_allowed"


class Stale(ConsultError):
    """Somebody saved a newer version in between; nothing was written."""

    code = "stale"


class WrongState(ConsultError):
    """The lifecycle has no such step from the present state (params: state, trigger)."""

    code = "wrong_state"


class Invalid(ConsultError):
    """Refused input. params: `fields`, tuples (field path, reason code, params) that the page links to."""

    code = "invalid"

    def __init__(self, *fields: Wrong, **params: Any) -> None:
        super().__init__(fields=fields, **params)
        self.fields = fields


class Conflict(ConsultError):
    """Another record already holds this place (an offer already accepted, an identifier registered)."""

    code = "conflict"
