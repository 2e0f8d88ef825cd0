-- name: run_rows :many
-- What is known of runs and tasks, wherever they are; with $3, their payloads too. One that is neither running nor ended
-- is queued, backing off, or waits to come to be again; where a workflow run is, its tasks tell.
SELECT t.id, t.version, t.step, t.priority, t.metadata, t.parent_id, t.created_at, t.run_id,
       r.status AS result_status, r.attempt AS result_attempt, r.retries_used AS result_retries, r.worker_id AS result_worker,
       r.started_at AS result_started, r.finished_at, r.error,
       a.attempt AS running_attempt, a.retries_used AS running_retries, a.worker_id AS running_worker,
       a.started_at AS running_started,
       coalesce(q.attempt, w.attempt) AS waiting_attempt,
       coalesce(q.retries_used, w.retries_used) AS waiting_retries,
       CASE WHEN t.run_id IS NOT NULL AND r.id IS NULL THEN (
           SELECT p.attempt FROM treadle.replayed p WHERE p.tenant_id = t.tenant_id AND p.task_id = t.id
       ) END AS to_come_as,
       CASE WHEN $3::boolean THEN t.input END AS input,
       CASE WHEN $3::boolean THEN r.output END AS output
FROM treadle.task t
LEFT JOIN treadle.task_result r ON r.tenant_id = t.tenant_id AND r.id = t.id
LEFT JOIN treadle.attempt a ON a.tenant_id = t.tenant_id AND a.task_id = t.id AND r.id IS NULL
LEFT JOIN treadle.queue_item q ON q.tenant_id = t.tenant_id AND q.task_id = t.id AND r.id IS NULL
LEFT JOIN treadle.timer w ON w.tenant_id = t.tenant_id AND w.task_id = t.id AND r.id IS NULL
WHERE t.tenant_id = $1::integer AND t.id = ANY ($2::uuid[])
ORDER BY t.id DESC;

-- name: payload_sizes :many
-- How many bytes of input and output these have.
SELECT t.id, octet_length(t.input) + coalesce(octet_length(r.output), 0) AS size
FROM treadle.task t
LEFT JOIN treadle.task_result r ON r.tenant_id = t.tenant_id AND r.id = t.id
WHERE t.tenant_id = $1::integer AND t.id = ANY ($2::uuid[]);

-- name: payloads :many
-- Inputs and outputs.
SELECT t.id, t.input, r.output
FROM treadle.task t
LEFT JOIN treadle.task_result r ON r.tenant_id = t.tenant_id AND r.id = t.id
WHERE t.tenant_id = $1::integer AND t.id = ANY ($2::uuid[]);

-- name: version_sizes :many
-- How many tasks workflow versions have, failure handlers included.
SELECT number,
       json_array_length(definition -> 'tasks') + CASE WHEN definition -> 'on_failure' IS NULL THEN 0 ELSE 1 END AS size
FROM treadle.workflow_version
WHERE number = ANY ($1::bigint[]);

-- name: steps_begun :many
-- Those of these tasks that run or have ended, with the first words of what went wrong.
SELECT a.task_id AS id, 2 AS status, a.started_at, NULL::timestamptz AS finished_at, NULL AS error
FROM treadle.attempt a
WHERE a.tenant_id = $1::integer AND a.task_id = ANY ($2::uuid[])
UNION ALL
SELECT r.id, r.status, r.started_at, r.finished_at, CASE WHEN r.status = 4 THEN left(r.error, 1000) END
FROM treadle.task_result r
WHERE r.tenant_id = $1::integer AND r.id = ANY ($2::uuid[]);

-- name: ended_runs :many
-- Results of those runs that have ended; a run without one has a null status, an unknown run no row.
SELECT t.id, t.version, t.step, r.status, r.output, r.error, t.run_id
FROM treadle.task t
LEFT JOIN treadle.task_result r ON r.tenant_id = t.tenant_id AND r.id = t.id
WHERE t.tenant_id = $1::integer AND t.id = ANY ($2::uuid[]);

-- name: count_children :many
-- How many children these tasks have spawned; those that have none are left out.
SELECT parent_id, count(*) AS children
FROM treadle.child
WHERE tenant_id = $1::integer AND parent_id = ANY ($2::uuid[])
GROUP BY parent_id;

-- name: run_events :many
-- The history of some runs between two times, from the rows that tell of many runs at once.
SELECT e.at, e.kind, u.task_id, u.attempt, u.detail
FROM treadle.event_log e
CROSS JOIN LATERAL unnest(e.task_ids, e.attempts, e.details) AS u (task_id, attempt, detail)
WHERE e.tenant_id = $1::integer AND e.at >= $3::timestamptz AND e.at <= $4::timestamptz
  AND e.task_ids && $2::uuid[] AND u.task_id = ANY ($2::uuid[])
ORDER BY e.at, e.id
LIMIT $5::integer;

-- name: run_logs :many
-- The first lines that some runs wrote.
SELECT l.task_id, l.attempt, l.at, l.level, l.message, l.metadata
FROM unnest($2::uuid[]) AS k (id)
CROSS JOIN LATERAL (
    SELECT task_id, attempt, at, level, message, metadata, seq
    FROM treadle.log_line
    WHERE tenant_id = $1::integer AND task_id = k.id
    ORDER BY seq
    LIMIT $3::integer
) l
ORDER BY l.seq
LIMIT $3::integer;
