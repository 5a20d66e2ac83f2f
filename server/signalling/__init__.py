"""The live room: one WebSocket per seat, rooms in memory under an epoch, everything that must last in rows.

schema.py is the protocol (docs/protocol.md describes it), room.py one room, rooms.py all of them, socket.py the door.
"""
