-- name: delete_attempts :one
-- End attempts; answers how many were current, which must be all of them.
WITH gone AS (
    DELETE FROM treadle.attempt a
    USING unnest($1::text::integer[], $2::text::uuid[], $3::text::integer[]) AS k (tenant_id, task_id, attempt)
    WHERE a.tenant_id = k.tenant_id AND a.task_id = k.task_id AND a.attempt = k.attempt
    RETURNING 1
)
SELECT count(*) AS ended FROM gone;
