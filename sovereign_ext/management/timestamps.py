"""Times as messages have them, of Unix milliseconds, as storage keeps them."""

from __future__ import annotations

from google.protobuf import timestamp_pb2


def timestamp(time_ms: int) -> timestamp_pb2.Timestamp:
    """A time of a message."""
    time = timestamp_pb2.Timestamp()
    time.FromMilliseconds(time_ms)
    return time
