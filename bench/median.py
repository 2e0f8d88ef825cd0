"""Of several reports of one scenario, the median one by a figure: `python median.py a.b FILE...`, as JSON."""

import json
import sys
from pathlib import Path

from tables import Report, at


def main(key: str, paths: list[str]) -> Report:
    """The median report (the lower one of two), with the figure of every round as `rounds`."""

    def figure(report: Report) -> float:
        value = at(report, key)
        if not isinstance(value, int | float):
            raise SystemExit(f"a report has no figure {key}")
        return value

    reports = sorted((json.loads(Path(path).read_text()) for path in paths), key=figure)
    if not reports:
        raise SystemExit("no round has succeeded")
    return reports[(len(reports) - 1) // 2] | {"rounds": [figure(report) for report in reports]}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2:])))
