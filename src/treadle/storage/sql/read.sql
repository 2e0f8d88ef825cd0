-- name: find_runs :many
-- Ids of runs by filter, newest first. Metadata pairs are alternatives, as in the reference. An id is its own time, so
-- since and until prune partitions.
SELECT t.id
FROM treadle.task t
LEFT JOIN treadle.task_result r ON r.tenant_id = t.tenant_id AND r.id = t.id
LEFT JOIN treadle.attempt a ON a.tenant_id = t.tenant_id AND a.task_id = t.id AND r.id IS NULL
WHERE t.tenant_id = $1::integer
  AND ($2::uuid IS NULL OR t.id >= $2::uuid)
  AND ($3::uuid IS NULL OR t.id < $3::uuid)
  AND (cardinality($4::smallint[]) = 0
       OR coalesce(r.status, CASE WHEN a.task_id IS NULL THEN 1 ELSE 2 END) = ANY ($4::smallint[]))
  AND (cardinality($5::uuid[]) = 0 OR t.version IN (
        SELECT number FROM treadle.workflow_version WHERE tenant_id = $1::integer AND workflow_id = ANY ($5::uuid[])))
  AND (cardinality($6::text[]) = 0 OR t.version IN (
        SELECT v.number FROM treadle.workflow w
        JOIN treadle.workflow_version v ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id
        WHERE w.tenant_id = $1::integer AND w.name = ANY ($6::text[])))
  AND (cardinality($7::text[]) = 0 OR EXISTS (
        SELECT 1 FROM unnest($7::text[], $8::text[]) AS m (key, value) WHERE t.metadata::json ->> m.key = m.value))
  AND ($9::uuid IS NULL OR t.parent_id = $9::uuid)
ORDER BY t.id DESC
LIMIT $10::integer;

-- name: find_active_runs :many
-- As find_runs, for runs that have not ended: found where they wait or run, however many have ended. The three branches
-- are read backwards along their keys, so that the limit ends the work.
SELECT t.id
FROM (
    SELECT a.tenant_id, a.task_id, 2 AS status FROM treadle.attempt a
    UNION ALL
    SELECT q.tenant_id, q.task_id, 1 FROM treadle.queue_item q
    UNION ALL
    SELECT w.tenant_id, w.task_id, 1 FROM treadle.timer w
) active
JOIN treadle.task t ON t.tenant_id = active.tenant_id AND t.id = active.task_id
WHERE active.tenant_id = $1::integer
  AND ($2::uuid IS NULL OR active.task_id >= $2::uuid)
  AND ($3::uuid IS NULL OR active.task_id < $3::uuid)
  AND active.status = ANY ($4::smallint[])
  AND (cardinality($5::uuid[]) = 0 OR t.version IN (
        SELECT number FROM treadle.workflow_version WHERE tenant_id = $1::integer AND workflow_id = ANY ($5::uuid[])))
  AND (cardinality($6::text[]) = 0 OR t.version IN (
        SELECT v.number FROM treadle.workflow w
        JOIN treadle.workflow_version v ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id
        WHERE w.tenant_id = $1::integer AND w.name = ANY ($6::text[])))
  AND (cardinality($7::text[]) = 0 OR EXISTS (
        SELECT 1 FROM unnest($7::text[], $8::text[]) AS m (key, value) WHERE t.metadata::json ->> m.key = m.value))
  AND ($9::uuid IS NULL OR t.parent_id = $9::uuid)
ORDER BY active.task_id DESC
LIMIT $10::integer;

-- name: find_ended_runs :many
-- As find_runs, for runs that have ended.
SELECT t.id
FROM treadle.task_result r
JOIN treadle.task t ON t.tenant_id = r.tenant_id AND t.id = r.id
WHERE r.tenant_id = $1::integer
  AND ($2::uuid IS NULL OR r.id >= $2::uuid)
  AND ($3::uuid IS NULL OR r.id < $3::uuid)
  AND r.status = ANY ($4::smallint[])
  AND (cardinality($5::uuid[]) = 0 OR t.version IN (
        SELECT number FROM treadle.workflow_version WHERE tenant_id = $1::integer AND workflow_id = ANY ($5::uuid[])))
  AND (cardinality($6::text[]) = 0 OR t.version IN (
        SELECT v.number FROM treadle.workflow w
        JOIN treadle.workflow_version v ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id
        WHERE w.tenant_id = $1::integer AND w.name = ANY ($6::text[])))
  AND (cardinality($7::text[]) = 0 OR EXISTS (
        SELECT 1 FROM unnest($7::text[], $8::text[]) AS m (key, value) WHERE t.metadata::json ->> m.key = m.value))
  AND ($9::uuid IS NULL OR t.parent_id = $9::uuid)
ORDER BY r.id DESC
LIMIT $10::integer;

-- name: run_rows :many
-- What is known of runs, wherever they are. A run that is neither running nor ended is queued or backing off.
SELECT t.id, t.version, t.step, t.priority, t.metadata, t.parent_id, t.created_at,
       r.status AS result_status, r.attempt AS result_attempt, r.retries_used AS result_retries, r.worker_id AS result_worker,
       r.started_at AS result_started, r.finished_at, r.error,
       a.attempt AS running_attempt, a.retries_used AS running_retries, a.worker_id AS running_worker,
       a.started_at AS running_started,
       coalesce(q.attempt, w.attempt) AS waiting_attempt, coalesce(q.retries_used, w.retries_used) AS waiting_retries
FROM treadle.task t
LEFT JOIN treadle.task_result r ON r.tenant_id = t.tenant_id AND r.id = t.id
LEFT JOIN treadle.attempt a ON a.tenant_id = t.tenant_id AND a.task_id = t.id AND r.id IS NULL
LEFT JOIN treadle.queue_item q ON q.tenant_id = t.tenant_id AND q.task_id = t.id AND r.id IS NULL
LEFT JOIN treadle.timer w ON w.tenant_id = t.tenant_id AND w.task_id = t.id AND r.id IS NULL
WHERE t.tenant_id = $1::integer AND t.id = ANY ($2::uuid[])
ORDER BY t.id DESC;

-- name: payloads :one
-- Input, output and error of a run.
SELECT t.input, r.output, r.error
FROM treadle.task t
LEFT JOIN treadle.task_result r ON r.tenant_id = t.tenant_id AND r.id = t.id
WHERE t.tenant_id = $1::integer AND t.id = $2::uuid;

-- name: ended_runs :many
-- Results of those runs that have ended; a run without one has a null status, an unknown run no row.
SELECT t.id, t.version, t.step, r.status, r.output, r.error
FROM treadle.task t
LEFT JOIN treadle.task_result r ON r.tenant_id = t.tenant_id AND r.id = t.id
WHERE t.tenant_id = $1::integer AND t.id = ANY ($2::uuid[]);

-- name: run_events :many
-- The history of one run between two times, from the rows that tell of many runs at once.
SELECT e.at, e.kind, e.attempts[i.place] AS attempt, e.details[i.place] AS detail
FROM treadle.event_log e
CROSS JOIN LATERAL (SELECT array_position(e.task_ids, $2::uuid) AS place) i
WHERE e.tenant_id = $1::integer AND e.at >= $3::timestamptz AND e.at <= $4::timestamptz AND i.place IS NOT NULL
ORDER BY e.at, e.id
LIMIT $5::integer;

-- name: run_logs :many
-- The first lines that a run wrote.
SELECT attempt, at, level, message, metadata
FROM treadle.log_line
WHERE tenant_id = $1::integer AND task_id = $2::uuid
ORDER BY seq
LIMIT $3::integer;
