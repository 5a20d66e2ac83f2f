"""aiortc's private names that server/media/relay/secure.py uses. A release that changes one fails here, by name."""

import inspect
from importlib.metadata import version

import pylibsrtp
from aioice import stun
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsTransport

from server.media.relay.ice import IceLite


def test_the_release_is_the_one_that_was_read():
    assert version("aiortc") == "1.16.0"


async def test_a_transport_has_a_role_that_can_be_set_and_two_sessions_to_come():
    transport = RTCDtlsTransport(IceLite().path(), [RTCCertificate.generateCertificate()])
    transport._set_role("server")
    assert transport._role == "server", "_set_role: without it the relay would speak first and answer setup:passive"
    assert transport._rx_srtp is None, "_rx_srtp: packets could not be opened"
    assert transport._tx_srtp is None, "_tx_srtp: packets could not be sealed"
    assert transport.state == "new"


def test_a_transport_asks_of_its_path_only_what_the_relay_gives():
    source = inspect.getsource(RTCDtlsTransport)
    asked = {name for name in ("_recv", "_send", "role") if f"self.transport.{name}" in source}
    assert asked == {"_recv", "_send", "role"}
    for other in ("iceGatherer", "_connection", "addRemoteCandidate", "start("):
        assert f"self.transport.{other}" not in source, f"the DTLS transport now asks its path for {other}"


def test_sessions_open_and_seal_both_kinds_and_repeats_may_be_sent():
    for name in ("protect", "protect_rtcp", "unprotect", "unprotect_rtcp"):
        assert callable(getattr(pylibsrtp.Session, name))
    assert "allow_repeat_tx = True" in inspect.getsource(RTCDtlsTransport._setup_srtp), "repairs could not be sent again"


def test_a_check_is_read_and_its_password_proved():
    asked = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    asked.attributes["USERNAME"] = "ours:theirs"
    asked.add_message_integrity(b"secret")
    read = stun.parse_message(bytes(asked))
    assert read.attributes["USERNAME"] == "ours:theirs"
    assert read.check_message_integrity(b"secret")
    assert not read.check_message_integrity(b"other")
