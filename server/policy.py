"""Who may call a route at all. The object's own permission is asked by the service through consult/access.py.

A policy stands beside every URL in routes.py. It decides three things the middleware enforces before any handler
runs: must the caller be signed in, in which roles, and how a mutation proves that our own page sent it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from consult.people import Role

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CLINICAL_ROLES = frozenset({Role.CLINIC_DOCTOR, Role.EXPERT, Role.TECHNICIAN, Role.DISPATCHER})
ALL_ROLES = frozenset(Role)


class Right(StrEnum):
    """What an API token may do, in the studies its organisation holds (server/auth/tokens.py)."""

    SEARCH = "search"
    READ = "read"
    STORE = "store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`roles` None: anybody, signed in or not. `csrf`: a mutation carries the session's token. `origin`: and comes
    from one of our own pages. `local`: only this machine, or the metrics token. `quiet`: no access-log line.
    """

    name: str
    roles: frozenset[Role] | None = ALL_ROLES
    csrf: bool = True
    origin: bool = True
    local: bool = False
    quiet: bool = False
    temporary: bool = False        # open to a login whose password was set by somebody else and must be changed
    token: Right | None = None     # the right an API token needs here; None: this address takes no tokens
    limit: int | None = None       # largest body in bytes; None: settings.uploads.json_kb; 0: the handler bounds it

    def allows(self, role: Role | None) -> bool:
        """Whether a caller acting in `role` (None: not signed in) may pass."""
        return self.roles is None or (role is not None and role in self.roles)


PUBLIC = Policy(name="public", roles=None, csrf=False)
"""Pages without content of ours, and the sign-in itself: a mutation has no session yet, so the Origin alone counts."""
SIGNED_IN = Policy(name="signed_in")
ACCOUNT = Policy(name="account", temporary=True)
"""One's own login: the little that is open before a temporary password has been changed."""
REPORTS = Policy(name="reports", roles=None, csrf=False, origin=False, quiet=True, limit=64 * 1024)
"""Browsers send CSP reports without our token and, by standard, without credentials."""
OPS = Policy(name="ops", roles=None, local=True, quiet=True)
STATIC = Policy(name="static", roles=None, csrf=False, quiet=True)
CLINICAL = Policy(name="clinical", roles=CLINICAL_ROLES)
UPLOAD = Policy(name="upload", roles=CLINICAL_ROLES, limit=0)
"""Bodies the handler reads as a stream under limits of its own."""


def roles(*allowed: Role) -> Policy:
    """Signed in, acting in one of these roles."""
    return Policy(name="roles:" + "+".join(sorted(allowed)), roles=frozenset(allowed))


def consultation(action: str, *, also: tuple[Role, ...] = (), limit: int | None = None) -> Policy:
    """An action on one consultation: clinical roles may try, consult/access.py decides about the object."""
    return Policy(name=f"consultation:{action}", roles=CLINICAL_ROLES | frozenset(also), limit=limit)


def patient(action: str, *, also: tuple[Role, ...] = ()) -> Policy:
    """An action on one patient, decided in the service."""
    return Policy(name=f"patient:{action}", roles=CLINICAL_ROLES | frozenset(also))


def study(action: str, *, limit: int | None = None, token: Right | None = None) -> Policy:
    """An action on one study, decided by the scope built from access.py and the viewing grant."""
    return Policy(name=f"study:{action}", roles=CLINICAL_ROLES, limit=limit, token=token)
