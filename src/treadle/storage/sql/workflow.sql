-- name: load_runs :many
-- Workflow runs and how they have ended, with inputs of up to $3 bytes.
SELECT k.tenant_id, k.id, r.status, t.version, t.step, t.priority, t.metadata, t.parent_id, t.child_index, t.child_key,
       t.created_at, t.run_id, t.triggers, CASE WHEN octet_length(t.input) <= $3::integer THEN t.input END AS input
FROM unnest($1::text::integer[], $2::text::uuid[]) AS k (tenant_id, id)
CROSS JOIN LATERAL (
    -- The limits in this file keep each of these a look-up by key: a plan over whole partitions would read all there is.
    SELECT version, step, priority, metadata, parent_id, child_index, child_key, created_at, run_id, triggers, input
    FROM treadle.task WHERE tenant_id = k.tenant_id AND id = k.id LIMIT 1
) t
LEFT JOIN LATERAL (
    SELECT status FROM treadle.task_result WHERE tenant_id = k.tenant_id AND id = k.id LIMIT 1
) r ON true
WHERE t.step = -1;

-- name: load_steps :many
-- Those of the tasks that have come to be, by their place in the arrays ($3: outputs wanted whatever their size).
SELECT k.place, r.status, p.attempt AS replayed_as,
       CASE WHEN k.whole OR octet_length(r.output) <= $4::integer THEN r.output END AS output
FROM unnest($1::text::integer[], $2::text::uuid[], $3::boolean[]) WITH ORDINALITY AS k (tenant_id, id, whole, place)
CROSS JOIN LATERAL (SELECT 1 FROM treadle.task WHERE tenant_id = k.tenant_id AND id = k.id LIMIT 1) t
LEFT JOIN LATERAL (
    SELECT status, output FROM treadle.task_result WHERE tenant_id = k.tenant_id AND id = k.id LIMIT 1
) r ON true
LEFT JOIN LATERAL (
    SELECT attempt FROM treadle.replayed WHERE tenant_id = k.tenant_id AND task_id = k.id LIMIT 1
) p ON true;

-- name: load_outputs :many
-- How these tasks have ended, by their place in the arrays.
SELECT k.place, r.status, r.output
FROM unnest($1::text::integer[], $2::text::uuid[]) WITH ORDINALITY AS k (tenant_id, id, place)
CROSS JOIN LATERAL (
    SELECT status, output FROM treadle.task_result WHERE tenant_id = k.tenant_id AND id = k.id LIMIT 1
) r;

-- name: load_errors :many
-- The errors of those tasks that have failed, by their place in the arrays.
SELECT k.place, r.error
FROM unnest($1::text::integer[], $2::text::uuid[]) WITH ORDINALITY AS k (tenant_id, id, place)
CROSS JOIN LATERAL (
    SELECT status, error FROM treadle.task_result WHERE tenant_id = k.tenant_id AND id = k.id LIMIT 1
) r
WHERE r.status = 4;

-- name: find_members :many
-- What these ids are, where they are workflow runs or tasks of one; a task that waits for sleeps or events may have no
-- row of its own yet.
SELECT t.id, t.run_id, t.step
FROM unnest($2::text::uuid[]) AS k (id)
CROSS JOIN LATERAL (
    SELECT id, run_id, step FROM treadle.task WHERE tenant_id = $1::integer AND id = k.id LIMIT 1
) t
WHERE t.step = -1 OR t.run_id IS NOT NULL
UNION
SELECT c.task_id, c.run_id, c.step
FROM unnest($2::text::uuid[]) AS k (id)
CROSS JOIN LATERAL (
    SELECT task_id, run_id, step FROM treadle.condition WHERE tenant_id = $1::integer AND task_id = k.id LIMIT 1
) c;

-- name: take_step_results :many
-- Take results away, so that the tasks can come to be again; answers the attempts that had ended them.
DELETE FROM treadle.task_result r
USING unnest($2::text::uuid[]) AS k (id)
WHERE r.tenant_id = $1::integer AND r.id = k.id
RETURNING r.id, r.attempt;

-- name: set_triggers :exec
-- Note what has met the conditions of tasks that run again.
UPDATE treadle.task t SET triggers = k.triggers
FROM unnest($1::text::integer[], $2::text::uuid[], $3::text[]) AS k (tenant_id, id, triggers)
WHERE t.tenant_id = k.tenant_id AND t.id = k.id AND t.triggers IS DISTINCT FROM k.triggers;

-- name: insert_replayed :exec
-- Note the next attempts of tasks that were replayed and wait for their parents again.
INSERT INTO treadle.replayed (tenant_id, task_id, run_id, attempt)
SELECT tenant_id, task_id, run_id, attempt
FROM unnest($1::text::integer[], $2::text::uuid[], $3::text::uuid[], $4::text::integer[])
     AS k (tenant_id, task_id, run_id, attempt);

-- name: delete_replayed :exec
-- These have come to be again.
DELETE FROM treadle.replayed p
USING unnest($1::text::integer[], $2::text::uuid[]) AS k (tenant_id, task_id)
WHERE p.tenant_id = k.tenant_id AND p.task_id = k.task_id;

-- name: children :many
-- What these tasks have spawned.
SELECT c.child_id
FROM unnest($2::text::uuid[]) AS k (id)
JOIN treadle.child c ON c.tenant_id = $1::integer AND c.parent_id = k.id;
