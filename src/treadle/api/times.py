"""Times on the REST edge: RFC 3339, in UTC, with a `T` and a `Z`."""

from datetime import UTC, datetime


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
