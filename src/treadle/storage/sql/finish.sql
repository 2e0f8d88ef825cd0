-- name: delete_attempts :one
-- End attempts; answers how many were current, which must be all of them.
WITH gone AS (
    DELETE FROM treadle.attempt a
    USING unnest($1::integer[], $2::uuid[], $3::integer[]) AS k (tenant_id, task_id, attempt)
    WHERE a.tenant_id = k.tenant_id AND a.task_id = k.task_id AND a.attempt = k.attempt
    RETURNING 1
)
SELECT count(*) AS ended FROM gone;

-- name: insert_results :exec
-- Store how task runs ended. A second result for a run is an error, never an overwrite.
INSERT INTO treadle.task_result
    (tenant_id, id, attempt, status, retries_used, worker_id, assigned_at, started_at, finished_at, error, output)
SELECT tenant_id, id, attempt, status, retries_used, worker_id, assigned_at, started_at, $11::timestamptz, error, output
FROM unnest($1::integer[], $2::uuid[], $3::integer[], $4::smallint[], $5::smallint[], $6::uuid[], $7::timestamptz[],
            $8::timestamptz[], $9::text[], $10::bytea[])
     AS r (tenant_id, id, attempt, status, retries_used, worker_id, assigned_at, started_at, error, output);
