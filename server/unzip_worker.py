"""The child of server/uploading.py that opens a zip from outside, under limits on memory, time and size.

argv: file, most entries, most bytes. Output, frames of 4 bytes big endian length and so many bytes: an empty frame
ends an entry, 0xFFFFFFFF ends the archive, 0xFFFFFFFE followed by one frame is a refusal with its reason.
"""

import resource
import struct
import sys
import zipfile
import zlib
from pathlib import Path

END, REFUSED = 0xFFFFFFFF, 0xFFFFFFFE
CHUNK = 1 << 18
MEMORY = 512 << 20
RATIO = 100
"""Images shrink to a half or a tenth; what swells a hundredfold beyond the first gigabyte is made to."""
SPARE = 1 << 30
LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")


def _litter(name: str) -> bool:
    """What a desktop puts into every folder."""
    return name.startswith("__MACOSX/") or name.rpartition("/")[2] in LITTER


def main() -> None:
    path, most_entries, most_bytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (600, 600))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    out = sys.stdout.buffer
    total = 0

    def refuse(reason: str) -> None:
        text = reason.encode()
        out.write(struct.pack(">II", REFUSED, len(text)) + text)
        out.flush()
        sys.exit(0)

    try:
        with zipfile.ZipFile(path) as archive:
            most_bytes = min(most_bytes, Path(path).stat().st_size * RATIO + SPARE)
            entries = [x for x in archive.infolist() if not x.is_dir() and not _litter(x.filename)]
            if len(entries) > most_entries:
                refuse("zip_too_many")
            for entry in entries:
                if entry.flag_bits & 1:
                    refuse("zip_encrypted")
                with archive.open(entry) as file:
                    while chunk := file.read(CHUNK):
                        total += len(chunk)
                        if total > most_bytes:
                            refuse("zip_too_large")
                        out.write(struct.pack(">I", len(chunk)) + chunk)
                out.write(struct.pack(">I", 0))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, MemoryError, OSError):
        refuse("zip_damaged")
    out.write(struct.pack(">I", END))
    out.flush()


if __name__ == "__main__":
    main()
