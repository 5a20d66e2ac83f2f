"""The packet relay: a process of its own that passes RTP between the seats of a room without decoding it.

Nothing of the web process is imported here but logging; the two speak through messages.py over a local socket.
"""
