"""The child of server/verifying.py: one untrusted PDF on stdin, one JSON judgement on stdout, under rlimits."""

import json
import resource
import sys
from pathlib import Path


def main() -> None:
    folder, lang, memory = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (15, 15))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    data = sys.stdin.buffer.read()
    from server.paper.authority import ROOT_FILE, read_revoked
    from server.paper.verify import Reason, Verdict, verify_pdf
    from server.paper.verify_words import describe

    try:
        verdict = verify_pdf(data, roots=[folder / ROOT_FILE], revoked=read_revoked(folder))
    except FileNotFoundError:
        # Nothing was ever signed here, so whatever this is, it is not ours.
        verdict = Verdict(genuine=False, reason=Reason.UNKNOWN_SIGNER)
    lines = describe(verdict, "en" if lang == "en" else "zh")
    json.dump({"genuine": verdict.genuine, "reason": verdict.reason, "lines": lines}, sys.stdout)


if __name__ == "__main__":
    main()
