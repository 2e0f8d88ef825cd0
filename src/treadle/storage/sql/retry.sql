-- name: insert_timers :exec
-- Let failed attempts wait for their backoff.
INSERT INTO treadle.timer (tenant_id, task_id, attempt, retries_used, reassigned, due_at)
SELECT tenant_id, task_id, attempt, retries_used, reassigned, to_timestamp(due_at)
FROM unnest($1::text::integer[], $2::text::uuid[], $3::text::integer[], $4::text::smallint[], $5::text::smallint[],
            $6::text::float8[])
     AS t (tenant_id, task_id, attempt, retries_used, reassigned, due_at);

-- name: take_due_timers :many
-- Take the timers that are due at $1, earliest first, at most $2.
WITH due AS (
    DELETE FROM treadle.timer r
    USING (SELECT tenant_id, task_id FROM treadle.timer
           WHERE due_at <= $1::timestamptz AND tenant_id = ANY ($4::integer[])
           ORDER BY due_at LIMIT $2::integer) d
    WHERE r.tenant_id = d.tenant_id AND r.task_id = d.task_id
    RETURNING r.tenant_id, r.task_id, r.attempt, r.retries_used, r.reassigned, r.due_at
)
SELECT d.tenant_id, d.task_id, d.attempt, d.retries_used, d.reassigned, t.version, t.step, t.priority, t.metadata,
       t.parent_id, t.child_index, t.child_key, t.created_at, t.run_id, t.triggers,
       CASE WHEN t.run_id IS NULL AND octet_length(t.input) <= $3::integer THEN t.input END AS input
FROM due d
JOIN treadle.task t ON t.tenant_id = d.tenant_id AND t.id = d.task_id
ORDER BY d.due_at;

-- name: next_due :one
-- When the earliest timer of these tenants is due.
SELECT min(due_at) AS due_at FROM treadle.timer WHERE tenant_id = ANY ($1::integer[]);
