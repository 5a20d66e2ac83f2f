"""Replay buffer, rates, ICE credentials, and what of an SDP may pass: small parts, no sockets."""

import asyncio
import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.settings import Ice, IceServer
from server.signalling import schema as s
from server.signalling import sdp
from server.signalling.connection import ANSWER, QUEUE_LIMIT, QUIET, Connection
from server.signalling.ice import ice_servers
from server.signalling.limits import Limiter
from server.signalling.replay import Replay
from tests.realtime.world import SDP

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
HOST = "candidate:1 1 udp 2113937151 {} 50000 typ host"


class TestReplay:
    @given(st.lists(st.integers(1, 400), max_size=60), st.integers(0, 70), st.integers(0, 70))
    def test_it_gives_exactly_the_missing_frames_or_says_that_it_cannot(self, sizes, acknowledged, last):
        replay = Replay(limit=2000)
        sent = []
        for size in sizes:
            sent.append(b"x" * size)
            assert replay.put(sent[-1]) == len(sent)
            assert replay.size <= 2000
        replay.acknowledge(min(acknowledged, len(sent)))
        found = replay.after(last)
        if last > len(sent):
            assert found is None
        elif found is not None:
            assert found == sent[last:]
        elif last >= acknowledged:
            assert sum(sizes[last:]) > 2000          # only an overrun forgets what was not acknowledged

    def test_a_frame_larger_than_the_buffer_leaves_it_empty_and_counted(self):
        replay = Replay(limit=10)
        replay.put(b"x" * 11)
        assert (replay.seq, replay.size, replay.after(0), replay.after(1)) == (1, 0, None, [])


class TestLimiter:
    def test_more_frames_than_all_families_may_send_are_not_even_read(self):
        limiter = Limiter(0.0)
        most = sum(rate.burst for rate in s.RATES.values())
        heard = [limiter.hear(0.0) for _ in range(2000)]
        assert most <= heard.count(True) < 2000
        assert heard == sorted(heard, reverse=True)
        later = Limiter(0.0)
        per_second = round(sum(rate.per_second for rate in s.RATES.values()))
        assert all(later.hear(second + at / per_second) for second in range(60) for at in range(per_second))

    def test_a_burst_passes_and_then_the_rate(self):
        limiter = Limiter(0.0)
        rate = s.RATES[s.Family.CHAT]
        assert sum(limiter.take(s.Family.CHAT, 0.0) for _ in range(100)) == rate.burst
        assert limiter.retry_ms(s.Family.CHAT) == round(1000 / rate.per_second)
        assert sum(limiter.take(s.Family.CHAT, 10.0) for _ in range(100)) == rate.burst
        assert sum(limiter.take(s.Family.CHAT, 11.0) for _ in range(100)) == rate.per_second

    def test_families_do_not_share(self):
        limiter = Limiter(0.0)
        while limiter.take(s.Family.NEWEST, 0.0):
            pass
        assert limiter.take(s.Family.CHAT, 0.0)


class TestIce:
    def test_turn_credentials_expire_and_are_made_of_the_shared_secret(self):
        ice = Ice(turn_urls=("turn:a", "turns:b"), turn_secret="secret", turn_ttl_seconds=600)
        (server,) = ice_servers(ice, holder="seat-1", now=NOW)
        user = f"{int(NOW.timestamp()) + 600}:seat-1"
        password = base64.b64encode(hmac.new(b"secret", user.encode(), hashlib.sha1).digest()).decode()
        assert server == {"urls": ["turn:a", "turns:b"], "username": user, "credential": password}

    def test_fixed_servers_come_first_and_without_a_secret_there_is_no_turn(self):
        ice = Ice(servers=(IceServer(urls=("stun:x",)), IceServer(urls=("turn:y",), username="u", credential="p")),
                  turn_urls=("turn:z",))
        assert ice_servers(ice, holder="h", now=NOW) == [
            {"urls": ["stun:x"]}, {"urls": ["turn:y"], "username": "u", "credential": "p"},
        ]


class TestDescriptions:
    def test_everything_but_candidates_stays(self):
        kept = sdp.clean(SDP).splitlines()
        assert kept == [x for x in SDP.splitlines() if "candidate" not in x]

    @given(st.text(max_size=300))
    def test_no_text_breaks_it(self, text):
        try:
            assert "a=candidate:" not in sdp.clean(text)
        except sdp.BadDescription:
            pass

    @pytest.mark.parametrize(("address", "rule", "remote", "passing"), [
        ("192.168.1.5", "all", "8.8.8.8", True),
        ("192.168.1.5", "none", "192.168.1.9", False),
        ("192.168.1.5", "own_subnet", "192.168.1.9", True),
        ("192.168.2.5", "own_subnet", "192.168.1.9", False),
        ("192.168.1.5", "own_subnet", "8.8.8.8", False),
        ("10.0.0.1", "own_subnet", "127.0.0.1", True),
        ("10.0.0.1", "own_subnet", None, False),
        ("127.0.0.1", "own_subnet", "127.0.0.1", True),
        ("127.0.0.1", "own_subnet", "192.168.1.9", False),
        ("169.254.169.254", "own_subnet", "192.168.1.9", False),
        ("::ffff:192.168.1.5", "none", "8.8.8.8", False),
        ("fd00::1", "own_subnet", "fd00::2", True),
        ("fd01::1", "own_subnet", "fd00::2", False),
        ("8.8.4.4", "none", "8.8.8.8", True),
        ("abcdef.local", "own_subnet", "192.168.1.9", True),
        ("abcdef.local", "own_subnet", "8.8.8.8", False),
        ("abcdef.local", "all", "8.8.8.8", True),
        ("abcdef.local", "none", "127.0.0.1", False),
        ("224.0.0.1", "all", "127.0.0.1", False),
        ("0.0.0.0", "all", "127.0.0.1", False),
    ])
    def test_private_addresses_pass_by_the_sites_rule(self, address, rule, remote, passing):
        assert sdp.passes(HOST.format(address), rule=rule, remote=remote) is passing

    def test_relayed_and_reflexive_candidates_pass_whatever_they_are_related_to(self):
        for kind in ("srflx", "relay", "prflx"):
            text = f"candidate:1 1 udp 1 203.0.113.9 5000 typ {kind} raddr 192.168.1.2 rport 1"
            assert sdp.passes(text, rule="none", remote="8.8.8.8")

    @pytest.mark.parametrize("text", [
        "x", "candidate:", "candidate:1 1 udp 1 evil.example 5000 typ host", "candidate:1 1 udp 1 10.0.0.1 99999 typ host",
        "candidate:1 1 sctp 1 10.0.0.1 5000 typ host", "candidate:1 1 udp 1 10.0.0.1 5000 typ odd",
        "candidate:1 1 udp 1 10.0.0.1 5000 typ host\r\na=x",
    ])
    def test_what_is_no_candidate_is_refused(self, text):
        with pytest.raises(sdp.BadDescription):
            sdp.passes(text, rule="all", remote="127.0.0.1")

    def test_the_end_of_candidates_passes(self):
        assert sdp.passes("", rule="none", remote=None)


class FakeTransport:
    """A socket whose reader can stop reading."""

    def __init__(self):
        self.sent = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.code = None

    async def send_str(self, data):
        await self.reading.wait()
        self.sent.append(data)

    async def ping(self):
        await self.send_str("ping")

    def abort(self):
        self.code = 1006

    async def close(self, *, code=1000, message=b""):
        self.code = code
        return True


class TestConnection:
    async def test_a_busy_follower_gets_the_newest_view_only_and_every_reliable_frame(self):
        transport = FakeTransport()
        connection = Connection(transport)
        transport.reading.clear()
        connection.send(b"first")
        await asyncio.sleep(0)
        for at in range(50):
            connection.send_newest(("seat", "view"), f"view {at}".encode())
        connection.send(b"second")
        transport.reading.set()
        connection.end(s.Close.LEFT)
        await connection.over()
        assert transport.sent[:2] == ["first", "second"]
        assert [x for x in transport.sent if x.startswith("view")] in ([], ["view 49"])
        assert transport.code == s.CLOSE_CODES[s.Close.LEFT]

    async def test_a_reader_that_falls_behind_is_ended_and_may_come_back(self):
        transport = FakeTransport()
        connection = Connection(transport)
        transport.reading.clear()
        connection.send(b"x")
        await asyncio.sleep(0)
        connection.send(b"x" * (QUEUE_LIMIT + 1))
        transport.reading.set()
        await connection.over()
        assert transport.code == s.CLOSE_CODES[s.Close.SLOW]
        assert s.Close.SLOW not in s.FINAL_CLOSES
        assert len("".join(transport.sent)) < 1000

    async def test_who_is_quiet_is_asked_once_and_given_up_only_without_an_answer(self):
        transport = FakeTransport()
        connection = Connection(transport, transport, now=0.0)

        async def second(now: float) -> tuple[list[str], int | None]:
            connection.beat(now)
            await connection.over()
            return transport.sent, transport.code

        assert await second(QUIET - 1) == ([], None)
        assert await second(QUIET) == (["ping"], None)
        assert await second(QUIET + 1) == (["ping"], None)
        connection.heard = QUIET + 2                                    # a pong, or anything else
        assert await second(QUIET + 2 + ANSWER) == (["ping"], None)
        # a server that stood still itself for a minute asks before it blames others
        assert await second(90.0) == (["ping", "ping"], None)
        assert await second(90.0 + ANSWER - 1) == (["ping", "ping"], None)
        assert await second(90.0 + ANSWER) == (["ping", "ping"], 1006)

    async def test_a_slow_reader_who_speaks_is_not_given_up_and_a_silent_one_is(self):
        transport = FakeTransport()
        connection = Connection(transport, transport, now=0.0)
        transport.reading.clear()
        connection.send(b"first")
        for now in range(60):
            connection.heard = float(now)
            connection.beat(now + 0.5)
        assert transport.code is None
        for now in range(60, 60 + round(QUIET + ANSWER) + 1):
            connection.beat(float(now))
        assert transport.code == 1006
        connection.lost()
        await connection.over()
