"""ICE servers for one seat, with TURN credentials that expire.

coturn's REST scheme (draft-uberti-behave-turn-rest-00 §2.2): user `<expiry>:<name>`, password
base64(HMAC-SHA1(secret, user)). The name is the seat or membership id, so that a relay's log tells seats apart and
holds nobody's name. SHA-1 is what the scheme fixes.
"""

import base64
import hmac
from datetime import datetime
from typing import Any

from server.settings import Ice


def ice_servers(ice: Ice, *, holder: str, now: datetime) -> list[dict[str, Any]]:
    """RTCIceServer dictionaries (W3C webrtc §4.2.4), every URL at once: browsers try them side by side."""
    servers: list[dict[str, Any]] = []
    for server in ice.servers:
        entry: dict[str, Any] = {"urls": list(server.urls)}
        if server.username:
            entry["username"] = server.username
            entry["credential"] = server.credential
        servers.append(entry)
    if ice.turn_urls and ice.turn_secret:
        user = f"{int(now.timestamp()) + ice.turn_ttl_seconds}:{holder}"
        digest = hmac.digest(ice.turn_secret.encode(), user.encode(), "sha1")
        servers.append({
            "urls": list(ice.turn_urls), "username": user, "credential": base64.b64encode(digest).decode(),
        })
    return servers
