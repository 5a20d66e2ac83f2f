"""An HTTP client that costs little beside what it measures: one socket, answers read into one buffer, not parsed."""

import socket

Answer = tuple[int, memoryview]
ROOM = 64 << 20
_rooms: list[bytearray] = []


def prepare() -> None:
    """Memory for the answers of this process's first connection, every page of it touched: else the first large answer
    measures how the kernel finds memory for the client.
    """
    _rooms.append(bytearray(b"\1") * ROOM)


class Wire:
    """One connection, kept open as long as the server keeps it. Not for several threads at once."""

    def __init__(self, host: str, port: int, headers: dict[str, str]) -> None:
        self.address = host, port
        self.head = "".join(f"{k}: {v}\r\n" for k, v in {"Host": f"{host}:{port}", **headers}.items())
        self.buffer = _rooms.pop() if _rooms else bytearray(1 << 20)
        self.socket: socket.socket | None = None

    def ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        """Status and body; the body is valid until the next call. A connection the server has closed is opened anew."""
        more = "".join(f"{k}: {v}\r\n" for k, v in (headers or {}).items())
        length = f"Content-Length: {len(body)}\r\n" if method == "POST" else ""
        head = f"{method} {path} HTTP/1.1\r\n{self.head}{more}{length}\r\n".encode()
        for fresh in (self.socket is None, True):
            if self.socket is None:
                self.socket = socket.create_connection(self.address, timeout=120)
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                if len(body) > 1 << 16:
                    self.socket.sendall(head)  # cheaper than a copy of both
                    self.socket.sendall(body)
                else:
                    self.socket.sendall(head + body)
                return self._answer()
            except ConnectionError:
                self.close()
                if fresh:
                    raise
        raise AssertionError

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def _more(self, have: int) -> int:
        if have == len(self.buffer):
            self.buffer = self.buffer + bytes(len(self.buffer))
        got = self.socket.recv_into(memoryview(self.buffer)[have:])
        return have + got if got else -1

    def _answer(self) -> Answer:
        have, end = 0, -1
        while end < 0:
            have = self._more(have)
            if have < 0:
                raise ConnectionResetError
            end = self.buffer.find(b"\r\n\r\n", 0, have)
        lines = bytes(self.buffer[:end]).decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        said = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        start = end + 4
        if "content-length" in said or status in {204, 304}:
            stop = start + int(said.get("content-length", 0))
            while have < stop:
                have = self._more(have)
                if have < 0:
                    raise ConnectionResetError
        elif said.get("transfer-encoding") == "chunked":
            stop = self._chunks(start, have)
        else:
            stop = have
            while (have := self._more(have)) >= 0:
                stop = have
            self.close()
        if said.get("connection", "").lower() == "close":
            self.close()
        return status, memoryview(self.buffer)[start:stop]

    def _chunks(self, start: int, have: int) -> int:
        """Moves the chunks together behind `start`; where they end."""
        read, write = start, start
        while True:
            while (line := self.buffer.find(b"\r\n", read, have)) < 0:
                have = self._more(have)
                if have < 0:
                    raise ConnectionResetError
            size = int(bytes(self.buffer[read:line]).split(b";")[0], 16)
            while have < line + 2 + size + 2:
                have = self._more(have)
                if have < 0:
                    raise ConnectionResetError
            self.buffer[write : write + size] = self.buffer[line + 2 : line + 2 + size]
            read, write = line + 2 + size + 2, write + size
            if size == 0:
                return write
