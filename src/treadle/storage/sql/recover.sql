-- name: running_attempts :many
-- Every running attempt of these tenants with what the scheduler must know of its task.
SELECT a.tenant_id, a.task_id, a.attempt, a.worker_id, a.retries_used, a.reassigned, a.assigned_at, a.timeout_at,
       a.started_at, a.slot_released, t.version, t.step, t.priority, t.metadata, t.parent_id, t.child_index, t.child_key,
       t.created_at, t.run_id, t.triggers
FROM treadle.attempt a
CROSS JOIN LATERAL (
    -- The limit keeps this a look-up per attempt: a plan over whole partitions would read all that ever ran.
    SELECT version, step, priority, metadata, parent_id, child_index, child_key, created_at, run_id, triggers
    FROM treadle.task WHERE tenant_id = a.tenant_id AND id = a.task_id LIMIT 1
) t
WHERE a.tenant_id = ANY ($1::integer[]);
