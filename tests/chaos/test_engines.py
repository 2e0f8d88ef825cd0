"""Three engines, any one killed every few seconds under a steady load: the short form of `make soak`."""

import logging
import os
from pathlib import Path

import pytest

from tests.chaos.engines import Siege, besiege

logger = logging.getLogger(__name__)

RATE = float(os.environ.get("TREADLE_CHAOS_RATE", "300"))
# Heartbeat 1 s, expiry 3 s, at once for a process that has died: with room for a machine that does other things too.
LONGEST_GAP = 5.0


@pytest.mark.timeout(240)
async def test_any_engine_may_die(seed: int, database_url: str, tmp_path: Path) -> None:
    figures = await besiege(Siege(seed, seconds=30, kill_every=8, rate=RATE), tmp_path, database_url)
    logger.info("%s", figures)
    assert figures.kills >= 2
    assert figures.longest_gap < LONGEST_GAP
