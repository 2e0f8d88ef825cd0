"""The same world, with chances that hypothesis draws: what it finds it shrinks to a short history."""

from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.simulation.chooser import Drawn
from tests.simulation.world import WEIGHTS, World


class Simulation(RuleBasedStateMachine):
    """Anything in any order; in the end everything must drain."""

    world: World | None = None

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.chooser = Drawn()
        self.chooser.data = data
        self.world = World(self.chooser)

    @rule(data=st.data(), happening=st.sampled_from([happening for _, happening in WEIGHTS]), fault=st.integers(0, 99))
    def happen(self, data: st.DataObject, happening: Callable[[World], None], fault: int) -> None:
        assert self.world is not None
        self.chooser.data = data
        happening(self.world)
        self.world.turn(fault=99 - fault)

    def teardown(self) -> None:
        if self.world is not None:
            self.world.drain()


TestSimulation = Simulation.TestCase
TestSimulation.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
