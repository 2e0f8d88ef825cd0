-- name: take_results :many
-- Take the results of ended runs of one task, so that they can run again; runs that have not ended are left alone, and
-- so are workflow runs and their tasks.
WITH ended AS (
    DELETE FROM treadle.task_result r
    USING unnest($1::uuid[]) AS k (id)
    JOIN treadle.task t ON t.tenant_id = $2::integer AND t.id = k.id AND t.run_id IS NULL AND t.step >= 0
    WHERE r.tenant_id = $2::integer AND r.id = k.id
    RETURNING r.id, r.attempt
)
SELECT t.id AS task_id, e.attempt, t.version, t.step, t.priority, t.metadata, t.parent_id, t.child_index, t.child_key,
       t.created_at, t.run_id, t.triggers, CASE WHEN octet_length(t.input) <= $3::integer THEN t.input END AS input
FROM ended e
JOIN treadle.task t ON t.tenant_id = $2::integer AND t.id = e.id;
