-- Runs are rows of treadle.task without a run_id, be they runs of one task or workflow runs; tasks are those with a step.

-- name: find_any_runs :many
-- Ids of runs (or, $11, of tasks) by filter, newest first. Metadata pairs are alternatives, as in the reference, or ($12)
-- must all be there. An id is its own time, so since and until prune partitions.
SELECT t.id
FROM treadle.task t
LEFT JOIN treadle.task_result r ON r.tenant_id = t.tenant_id AND r.id = t.id
LEFT JOIN treadle.attempt a ON a.tenant_id = t.tenant_id AND a.task_id = t.id AND r.id IS NULL
WHERE t.tenant_id = $1::integer
  AND ($2::uuid IS NULL OR t.id >= $2::uuid)
  AND ($3::uuid IS NULL OR t.id < $3::uuid)
  AND ($4::uuid IS NULL OR coalesce(r.worker_id, a.worker_id) = $4::uuid)
  AND CASE WHEN $11::boolean THEN t.step >= 0 ELSE t.run_id IS NULL END
  AND (cardinality($5::uuid[]) = 0 OR t.version IN (
        SELECT number FROM treadle.workflow_version WHERE tenant_id = $1::integer AND workflow_id = ANY ($5::uuid[])))
  AND (cardinality($6::text[]) = 0 OR t.version IN (
        SELECT v.number FROM treadle.workflow w
        JOIN treadle.workflow_version v ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id
        WHERE w.tenant_id = $1::integer AND w.name = ANY ($6::text[])))
  AND (cardinality($7::text[]) = 0 OR (
        SELECT CASE WHEN $12::boolean THEN bool_and(m.found) ELSE bool_or(m.found) END
        FROM (SELECT t.metadata::json ->> key IS NOT DISTINCT FROM value AS found
              FROM unnest($7::text[], $8::text[]) AS p (key, value)) m))
  AND ($9::uuid IS NULL OR t.parent_id = $9::uuid)
ORDER BY t.id DESC
LIMIT $10::integer;

-- name: find_ended_runs :many
-- As find_any_runs, for runs that have ended.
SELECT t.id
FROM treadle.task_result r
JOIN treadle.task t ON t.tenant_id = r.tenant_id AND t.id = r.id
WHERE r.tenant_id = $1::integer
  AND ($2::uuid IS NULL OR r.id >= $2::uuid)
  AND ($3::uuid IS NULL OR r.id < $3::uuid)
  AND ($4::uuid IS NULL OR r.worker_id = $4::uuid)
  AND r.status = ANY ($13::smallint[])
  AND CASE WHEN $11::boolean THEN t.step >= 0 ELSE t.run_id IS NULL END
  AND (cardinality($5::uuid[]) = 0 OR t.version IN (
        SELECT number FROM treadle.workflow_version WHERE tenant_id = $1::integer AND workflow_id = ANY ($5::uuid[])))
  AND (cardinality($6::text[]) = 0 OR t.version IN (
        SELECT v.number FROM treadle.workflow w
        JOIN treadle.workflow_version v ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id
        WHERE w.tenant_id = $1::integer AND w.name = ANY ($6::text[])))
  AND (cardinality($7::text[]) = 0 OR (
        SELECT CASE WHEN $12::boolean THEN bool_and(m.found) ELSE bool_or(m.found) END
        FROM (SELECT t.metadata::json ->> key IS NOT DISTINCT FROM value AS found
              FROM unnest($7::text[], $8::text[]) AS p (key, value)) m))
  AND ($9::uuid IS NULL OR t.parent_id = $9::uuid)
ORDER BY r.id DESC
LIMIT $10::integer;

-- name: find_active :many
-- Where runs that have not ended wait or run, however many have ended, the newest tasks first: (task, run, status, version,
-- whether it belongs to a workflow run). The branches are read backwards along their keys, so that the limit ends the work;
-- conditions inside of them would keep Postgres from that.
SELECT active.task_id, coalesce(t.run_id, t.id) AS run_id, active.status, t.version,
       t.run_id IS NOT NULL OR t.step < 0 AS of_workflow
FROM (
    SELECT a.tenant_id, a.task_id, a.task_id AS row_id, 2 AS status, a.worker_id FROM treadle.attempt a
    UNION ALL
    SELECT q.tenant_id, q.task_id, q.task_id, 1, NULL::uuid FROM treadle.queue_item q
    UNION ALL
    SELECT w.tenant_id, w.task_id, w.task_id, 1, NULL::uuid FROM treadle.timer w
    UNION ALL
    -- A task that waits for sleeps or events may have no row of its own: its run stands for it.
    SELECT c.tenant_id, c.task_id, c.run_id, 1, NULL::uuid FROM treadle.condition c
) active
CROSS JOIN LATERAL (
    -- The limit keeps this a look-up per row, in their order.
    SELECT run_id, id, version, step, metadata, parent_id
    FROM treadle.task WHERE tenant_id = active.tenant_id AND id = active.row_id LIMIT 1
) t
WHERE active.tenant_id = $1::integer
  AND ($2::uuid IS NULL OR active.task_id >= $2::uuid)
  AND ($3::uuid IS NULL OR active.task_id < $3::uuid)
  AND ($4::uuid IS NULL OR active.worker_id = $4::uuid)
  AND active.status = ANY ($13::smallint[])
  AND ($11::boolean IS FALSE OR t.step >= 0)
  AND (cardinality($5::uuid[]) = 0 OR t.version IN (
        SELECT number FROM treadle.workflow_version WHERE tenant_id = $1::integer AND workflow_id = ANY ($5::uuid[])))
  AND (cardinality($6::text[]) = 0 OR t.version IN (
        SELECT v.number FROM treadle.workflow w
        JOIN treadle.workflow_version v ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id
        WHERE w.tenant_id = $1::integer AND w.name = ANY ($6::text[])))
  AND (cardinality($7::text[]) = 0 OR (
        SELECT CASE WHEN $12::boolean THEN bool_and(m.found) ELSE bool_or(m.found) END
        FROM (SELECT t.metadata::json ->> key IS NOT DISTINCT FROM value AS found
              FROM unnest($7::text[], $8::text[]) AS p (key, value)) m))
  AND ($9::uuid IS NULL OR t.parent_id = $9::uuid)
ORDER BY active.task_id DESC
LIMIT $10::integer;

-- name: find_waiting_steps :many
-- As find_active, for tasks of workflow runs only that wait: in these queues, for a backoff, or for sleeps and events.
SELECT active.task_id, coalesce(t.run_id, t.id) AS run_id, 1 AS status, t.version, true AS of_workflow
FROM (
    SELECT q.tenant_id, q.task_id, q.task_id AS row_id, q.queue_id FROM treadle.queue_item q
    UNION ALL
    SELECT w.tenant_id, w.task_id, w.task_id, NULL::integer FROM treadle.timer w
    UNION ALL
    SELECT c.tenant_id, c.task_id, c.run_id, NULL::integer FROM treadle.condition c
) active
CROSS JOIN LATERAL (
    -- The limit keeps this a look-up per row, in their order.
    SELECT run_id, id, version, step, metadata, parent_id
    FROM treadle.task WHERE tenant_id = active.tenant_id AND id = active.row_id LIMIT 1
) t
WHERE active.tenant_id = $1::integer
  AND ($2::uuid IS NULL OR active.task_id >= $2::uuid)
  AND ($3::uuid IS NULL OR active.task_id < $3::uuid)
  AND (active.queue_id IS NULL OR active.queue_id = ANY ($4::integer[]))
  AND (t.run_id IS NOT NULL OR t.step < 0)
  AND (cardinality($5::uuid[]) = 0 OR t.version IN (
        SELECT number FROM treadle.workflow_version WHERE tenant_id = $1::integer AND workflow_id = ANY ($5::uuid[])))
  AND (cardinality($6::text[]) = 0 OR t.version IN (
        SELECT v.number FROM treadle.workflow w
        JOIN treadle.workflow_version v ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id
        WHERE w.tenant_id = $1::integer AND w.name = ANY ($6::text[])))
  AND (cardinality($7::text[]) = 0 OR (
        SELECT CASE WHEN $11::boolean THEN bool_and(m.found) ELSE bool_or(m.found) END
        FROM (SELECT t.metadata::json ->> key IS NOT DISTINCT FROM value AS found
              FROM unnest($7::text[], $8::text[]) AS p (key, value)) m))
  AND ($9::uuid IS NULL OR t.parent_id = $9::uuid)
ORDER BY active.task_id DESC
LIMIT $10::integer;

-- name: workflow_queues :many
-- The queues in which tasks of a tenant's workflow runs wait.
SELECT q.id
FROM treadle.queue q
WHERE q.tenant_id = $1::integer AND q.name IN (
    SELECT step ->> 'action'
    FROM treadle.workflow_version v
    CROSS JOIN LATERAL (
        SELECT step FROM json_array_elements(v.definition -> 'tasks') AS e (step)
        UNION ALL
        SELECT v.definition -> 'on_failure'
    ) s
    WHERE v.tenant_id = $1::integer
      AND (json_array_length(v.definition -> 'tasks') > 1 OR v.definition -> 'on_failure' IS NOT NULL
           OR v.definition #> '{tasks,0,conditions}' IS NOT NULL));

-- name: run_rows :many
-- What is known of runs and tasks, wherever they are; with $3, their payloads too. One that is neither running nor ended
-- is queued, backing off, or waits to come to be again; where a workflow run is, its tasks tell.
SELECT t.id, t.version, t.step, t.priority, t.metadata, t.parent_id, t.created_at, t.run_id,
       r.status AS result_status, r.attempt AS result_attempt, r.retries_used AS result_retries, r.worker_id AS result_worker,
       r.started_at AS result_started, r.finished_at, r.error,
       a.attempt AS running_attempt, a.retries_used AS running_retries, a.worker_id AS running_worker,
       a.started_at AS running_started,
       coalesce(q.attempt, w.attempt, p.attempt) AS waiting_attempt, p.attempt IS NOT NULL AS to_come_again,
       coalesce(q.retries_used, w.retries_used) AS waiting_retries,
       CASE WHEN $3::boolean THEN t.input END AS input,
       CASE WHEN $3::boolean THEN r.output END AS output
FROM treadle.task t
LEFT JOIN treadle.task_result r ON r.tenant_id = t.tenant_id AND r.id = t.id
LEFT JOIN treadle.attempt a ON a.tenant_id = t.tenant_id AND a.task_id = t.id AND r.id IS NULL
LEFT JOIN treadle.queue_item q ON q.tenant_id = t.tenant_id AND q.task_id = t.id AND r.id IS NULL
LEFT JOIN treadle.timer w ON w.tenant_id = t.tenant_id AND w.task_id = t.id AND r.id IS NULL
-- Compared with null, and so not looked for, where there can be none.
LEFT JOIN treadle.replayed p ON p.tenant_id = t.tenant_id AND p.task_id = CASE WHEN t.run_id IS NOT NULL THEN t.id END
WHERE t.tenant_id = $1::integer AND t.id = ANY ($2::uuid[])
ORDER BY t.id DESC;

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
