"""Put a workflow: changed content makes a new version, the same content changes nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from treadle.model.definition import content_hash, definition_to_json
from treadle.model.ids import new_id
from treadle.runtime.clock import moment
from treadle.storage import register as rows
from treadle.storage.leases import hint

if TYPE_CHECKING:
    from treadle.engine.catalog import Catalog
    from treadle.model.definition import WorkflowDefinition
    from treadle.storage.database import Database
    from treadle.storage.register import VersionRow


async def put_workflow(
    definition: WorkflowDefinition, *, tenant_id: int, database: Database, catalog: Catalog, now: float
) -> VersionRow:
    """Store a checked definition as the current version of its workflow.

    Returns:
        the current version: a new one, or the one that had this content already.
    """
    digest = content_hash(definition)
    generation = catalog.generation
    async with database.transaction() as conn:
        workflow_id = await rows.ensure_workflow(
            conn, tenant_id=tenant_id, id=new_id(), name=definition.name, created_at=moment(now)
        )
        version = await rows.newest_version(conn, tenant_id=tenant_id, workflow_id=workflow_id)
        if version is None or version.content_hash != digest:
            version = await rows.insert_version(
                conn,
                tenant_id=tenant_id,
                id=new_id(),
                workflow_id=workflow_id,
                content_hash=digest,
                definition=json.dumps(definition_to_json(definition)),
                created_at=moment(now),
            )
            await hint(conn, text=f"workflows {tenant_id}")
    # Only after the commit: a version that was rolled back must not stay in memory.
    async with database.connection() as conn:
        await catalog.adopt(conn, [version], current_as_of=generation)
    return version
