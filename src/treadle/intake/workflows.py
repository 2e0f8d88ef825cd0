"""Workflow definitions come in: checked whole, then stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.engine.expressions import check_definition
from treadle.engine.put_workflow import put_workflow
from treadle.wire.definitions import workflow_from_proto
from treadle.wire.gen.hatchet.v1 import workflows_pb2 as pb

if TYPE_CHECKING:
    from treadle.engine.catalog import Catalog
    from treadle.runtime.clock import Clock
    from treadle.storage.database import Database
    from treadle.wire.serving import Caller, Handlers


class Workflows:
    """Serves registrations.

    Args:
        database: where they are stored.
        catalog: told of new versions.
        clock: the time.
    """

    def __init__(self, *, database: Database, catalog: Catalog, clock: Clock) -> None:
        self._database = database
        self._catalog = catalog
        self._clock = clock

    def handlers(self) -> Handlers:
        """What this module serves."""
        return {"/v1.AdminService/PutWorkflow": self.put}

    async def put(self, request: pb.CreateWorkflowVersionRequest, caller: Caller) -> pb.CreateWorkflowVersionResponse:
        """Check and store a definition."""
        definition = workflow_from_proto(request)
        check_definition(definition)
        version = await put_workflow(
            definition,
            tenant_id=caller.tenant_id,
            database=self._database,
            catalog=self._catalog,
            now=self._clock.now(),
        )
        return pb.CreateWorkflowVersionResponse(id=version.id, workflow_id=version.workflow_id)
