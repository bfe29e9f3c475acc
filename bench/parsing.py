"""How fast restic's JSON lines are read: our facts from status and node lines, beside plain `json.loads`.

Run as: .venv/bin/python bench/parsing.py [--lines N]
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

from highball.engine.restic import output
from highball.process.child import by_lines
from measuring import Result, options

PIECE_BYTES = 64 * 1024


def main() -> None:
    """Measure and write down."""
    chosen = options(
        __doc__ or "",
        ("lines", 200_000, "how many lines of each kind"),
        ("times", 5, "how often each is read"),
    )
    result = Result("parsing", "Reading restic's JSON lines")
    for kind, make, read in (
        ("status", _status_line, output.read_status),
        ("node", _node_line, output.read_node),
    ):
        text = b"".join(make(number) + b"\n" for number in range(chosen.lines))
        ours, plain = [], []
        for _ in range(chosen.times):
            ours.append(chosen.lines / _seconds(lambda t=text, r=read: _read_ours(t, r)))  # type: ignore[misc]
            plain.append(chosen.lines / _seconds(lambda t=text: _read_plainly(t)))  # type: ignore[misc]
        rate, beside = statistics.median(ours), statistics.median(plain)
        result.add(
            f"{kind} lines, from bytes in a pipe to facts",
            f"{rate:,.0f} a second; json.loads alone {beside:,.0f} ({rate / beside:.2f} of it)",
            ours=[round(value) for value in ours],
            json_loads=[round(value) for value in plain],
        )
    result.notes.append(
        "restic itself lists 40,000 to 60,000 nodes a second, and tells its status twice a second."
    )
    result.write(None)


def _seconds(call: Callable[[], None]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def _read_ours(text: bytes, read: Callable[[output.JsonMessage], object]) -> None:
    def on_line(_: str, line: bytes) -> None:
        message = output.read_json(line)
        assert message is not None
        read(message)

    on_data, finish = by_lines(on_line)
    for start in range(0, len(text), PIECE_BYTES):
        on_data("stdout", text[start : start + PIECE_BYTES])
    finish()


def _read_plainly(text: bytes) -> None:
    for line in text.splitlines():
        json.loads(line)


def _status_line(number: int) -> bytes:
    return (
        b'{"message_type":"status","seconds_elapsed":%d,"seconds_remaining":17,"percent_done":0.4213,'
        b'"total_files":120000,"files_done":%d,"total_bytes":9876543210,"bytes_done":%d,'
        b'"current_files":["/home/me/documents/letters/2026/letter-%d.odt"]}'
    ) % (number // 2 + 1, number, number * 82304, number)


def _node_line(number: int) -> bytes:
    return (
        b'{"name":"letter-%d.odt","type":"file","path":"/home/me/documents/letters/%d/letter-%d.odt",'
        b'"uid":1000,"gid":1000,"size":%d,"mode":420,"permissions":"-rw-r--r--","inode":%d,'
        b'"mtime":"2026-05-04T12:34:56.123456789+02:00","atime":"2026-05-04T12:34:56.123456789+02:00",'
        b'"ctime":"2026-05-04T12:34:56.123456789+02:00","struct_type":"node","message_type":"node"}'
    ) % (number, number // 100, number, number * 7, number + 100)


if __name__ == "__main__":
    main()
