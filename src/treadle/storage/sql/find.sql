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
-- Where runs that have not ended wait or run, however many have ended, the newest tasks first: (task, run if that is
-- another, status, version, whether it belongs to a workflow run). The branches are read backwards along their keys, so that the limit ends the work;
-- conditions inside of them would keep Postgres from that.
SELECT active.task_id, CASE WHEN active.row_id = active.task_id THEN t.run_id ELSE t.id END AS run_id, active.status,
       t.version, t.run_id IS NOT NULL OR t.step < 0 AS of_workflow
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
SELECT active.task_id, CASE WHEN active.row_id = active.task_id THEN t.run_id ELSE t.id END AS run_id, 1 AS status,
       t.version, true AS of_workflow
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
