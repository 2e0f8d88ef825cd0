-- name: lost_tasks :many
-- Tasks made between two ids that have no result and are nowhere: no engine will ever come across them. A replayed task
-- that waits for its parents is where its run is, and so is a workflow run.
SELECT t.tenant_id, t.id, t.run_id, t.version, t.step
FROM treadle.task t
WHERE t.id >= $1::uuid AND t.id < $2::uuid AND t.step >= 0
  AND NOT EXISTS (SELECT 1 FROM treadle.task_result r WHERE r.tenant_id = t.tenant_id AND r.id = t.id
                                                        AND r.id >= $1::uuid AND r.id < $2::uuid)
  AND NOT EXISTS (SELECT 1 FROM treadle.queue_item q WHERE q.tenant_id = t.tenant_id AND q.task_id = t.id)
  AND NOT EXISTS (SELECT 1 FROM treadle.attempt a WHERE a.tenant_id = t.tenant_id AND a.task_id = t.id)
  AND NOT EXISTS (SELECT 1 FROM treadle.timer d WHERE d.tenant_id = t.tenant_id AND d.task_id = t.id)
  AND NOT EXISTS (SELECT 1 FROM treadle.condition c WHERE c.tenant_id = t.tenant_id AND c.task_id = t.id)
  AND NOT EXISTS (SELECT 1 FROM treadle.replayed p WHERE p.tenant_id = t.tenant_id AND p.task_id = t.id)
ORDER BY t.id
LIMIT $3::integer;

-- name: unended_runs :many
-- Workflow runs made between two ids, after another one, that have begun and not ended.
SELECT t.tenant_id, t.id, t.version
FROM treadle.task t
WHERE t.id > $3::uuid AND t.id >= $1::uuid AND t.id < $2::uuid AND t.step = -1
  AND NOT EXISTS (SELECT 1 FROM treadle.task_result r WHERE r.tenant_id = t.tenant_id AND r.id = t.id
                                                        AND r.id >= $1::uuid AND r.id < $2::uuid)
  AND NOT EXISTS (SELECT 1 FROM treadle.timer d WHERE d.tenant_id = t.tenant_id AND d.task_id = t.id)
ORDER BY t.id
LIMIT $4::integer;

-- name: misplaced :many
-- Tasks in more than one place, and ended ones that still are in any. A replayed task may wait for sleeps and events.
WITH place AS (
    SELECT tenant_id, task_id, 'queued' AS name FROM treadle.queue_item
    UNION ALL SELECT tenant_id, task_id, 'running' FROM treadle.attempt
    UNION ALL SELECT tenant_id, task_id, 'backing off' FROM treadle.timer
    UNION ALL SELECT DISTINCT tenant_id, task_id, 'waiting for sleeps or events' FROM treadle.condition
    UNION ALL SELECT tenant_id, task_id, 'replayed' FROM treadle.replayed
), found AS (
    SELECT p.tenant_id, p.task_id, array_agg(p.name ORDER BY p.name) AS places,
           count(*) FILTER (WHERE p.name NOT IN ('replayed', 'waiting for sleeps or events')) AS attempts,
           count(*) FILTER (WHERE p.name IN ('replayed', 'waiting for sleeps or events')) AS hopes
    FROM place p
    GROUP BY p.tenant_id, p.task_id
)
SELECT f.tenant_id, f.task_id, f.places, r.status
FROM found f
LEFT JOIN LATERAL (
    SELECT status FROM treadle.task_result WHERE tenant_id = f.tenant_id AND id = f.task_id LIMIT 1
) r ON true
WHERE f.attempts > 1 OR (f.attempts = 1 AND f.hopes > 0) OR r.status IS NOT NULL
ORDER BY f.task_id
LIMIT $1::integer;

-- name: orphans :many
-- Rows about tasks that are not stored, whose workflow run is not, or whose workflow is not; `missing` says which.
SELECT w.tenant_id, w.task_id, w.place,
       CASE WHEN t.version IS NULL THEN w.what
            WHEN v.number IS NULL THEN 'workflow'
            ELSE 'workflow run' END AS missing
FROM (
    SELECT tenant_id, task_id, task_id AS id, 'queued' AS place, 'run' AS what FROM treadle.queue_item
    UNION ALL SELECT tenant_id, task_id, task_id, 'running', 'run' FROM treadle.attempt
    UNION ALL SELECT tenant_id, task_id, task_id, 'backing off', 'run' FROM treadle.timer
    UNION ALL SELECT DISTINCT tenant_id, task_id, run_id, 'waiting for sleeps or events', 'workflow run'
              FROM treadle.condition
    UNION ALL SELECT tenant_id, task_id, run_id, 'replayed', 'workflow run' FROM treadle.replayed
) w
LEFT JOIN LATERAL (
    SELECT version, run_id FROM treadle.task WHERE tenant_id = w.tenant_id AND id = w.id LIMIT 1
) t ON true
LEFT JOIN treadle.workflow_version v ON v.number = t.version
LEFT JOIN LATERAL (
    SELECT id FROM treadle.task WHERE tenant_id = w.tenant_id AND id = t.run_id LIMIT 1
) r ON true
WHERE v.number IS NULL OR (t.run_id IS NOT NULL AND r.id IS NULL)
ORDER BY w.task_id
LIMIT $1::integer;

-- name: left_behind :many
-- Tasks that are somewhere although their workflow run has ended.
SELECT w.tenant_id, w.task_id, w.run_id, w.place, t.version, t.step
FROM (
    SELECT a.tenant_id, a.task_id, k.run_id, a.place
    FROM (
        SELECT tenant_id, task_id, 'queued' AS place FROM treadle.queue_item
        UNION ALL SELECT tenant_id, task_id, 'running' FROM treadle.attempt
        UNION ALL SELECT tenant_id, task_id, 'backing off' FROM treadle.timer
    ) a
    CROSS JOIN LATERAL (
        SELECT run_id FROM treadle.task WHERE tenant_id = a.tenant_id AND id = a.task_id LIMIT 1
    ) k
    WHERE k.run_id IS NOT NULL
    UNION ALL SELECT DISTINCT tenant_id, task_id, run_id, 'waiting for sleeps or events' FROM treadle.condition
    UNION ALL SELECT tenant_id, task_id, run_id, 'replayed' FROM treadle.replayed
) w
CROSS JOIN LATERAL (
    SELECT 1 FROM treadle.task_result WHERE tenant_id = w.tenant_id AND id = w.run_id LIMIT 1
) r
LEFT JOIN LATERAL (
    SELECT version, step FROM treadle.task WHERE tenant_id = w.tenant_id AND id = w.task_id LIMIT 1
) t ON true
ORDER BY w.task_id
LIMIT $1::integer;
