"""`treadle bench`: how fast is this engine on this machine.

Each scenario starts engines on a fresh database, a worker and a client as processes of their own, and measures them. The
database writes safely (fsync on), every run is stored, and the figures count all processes.
"""

from treadle.cli.bench.commands import app

__all__ = ["app"]
