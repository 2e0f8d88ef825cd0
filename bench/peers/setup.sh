#!/usr/bin/env bash
# Builds the peers' own environment and a private PostgreSQL in a temporary folder (PEERS_ROOT), then starts the server.
# Re-runnable: skips what is already there. Run as root (Debian packages), or with PEERS_APT=0: then the peers that need
# redis-server or rabbitmq-server are left out unless these are installed.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
root="${PEERS_ROOT:-${TMPDIR:-/tmp}/treadle-peers}"
mkdir -p "$root/run"
chmod 755 "$root"

if [ "${PEERS_APT:-1}" = 1 ] && ! { command -v redis-server && command -v rabbitmq-server; } >/dev/null; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends redis-server rabbitmq-server
fi

if [ ! -e "$root/venv/.installed" ] || [ "$here/requirements.txt" -nt "$root/venv/.installed" ]; then
  "${PEERS_PYTHON:-python3}" -m venv "$root/venv"
  "$root/venv/bin/pip" install -q -r "$here/requirements.txt" --editable "$here/../..[server]"
  # One line of Oban keeps it from Python 3.11 (a type alias of 3.12's syntax); there it is written the old way.
  "$root/venv/bin/pip" install -q --no-deps --ignore-requires-python "$(cat "$here/requirements-oban.txt")"
  "$root/venv/bin/python" - <<'PYTHON'
import importlib.util, pathlib, sys
if sys.version_info < (3, 12):
    job = pathlib.Path(importlib.util.find_spec("oban").submodule_search_locations[0], "job.py")
    new = 'Result = Cancel | Snooze | Record | TypeVar("T") | None'
    job.write_text(job.read_text().replace("type Result[T] = Cancel | Snooze | Record | T | None", new))
PYTHON
  touch "$root/venv/.installed"
fi
"$root/venv/bin/python" "$here/servers.py" start postgres
"$root/venv/bin/python" "$here/servers.py" status
