-- name: delete_attempts :one
-- End attempts; answers how many were current, which must be all of them.
WITH gone AS (
    DELETE FROM treadle.attempt a
    USING unnest($1::text::integer[], $2::text::uuid[], $3::text::integer[]) AS k (tenant_id, task_id, attempt)
    WHERE a.tenant_id = k.tenant_id AND a.task_id = k.task_id AND a.attempt = k.attempt
    RETURNING 1
)
SELECT count(*) AS ended FROM gone;

-- name: insert_results :exec
-- Store how task runs ended. A second result for a run is an error, never an overwrite.
INSERT INTO treadle.task_result
    (tenant_id, id, attempt, status, retries_used, worker_id, assigned_at, started_at, finished_at, error, output)
SELECT tenant_id, id, attempt, status, retries_used, worker_id, to_timestamp(assigned_at), to_timestamp(started_at),
       $13::timestamptz, error,
       CASE WHEN output_length >= 0 THEN substring($10::bytea FROM output_start FOR output_length) END
FROM unnest($1::text::integer[], $2::text::uuid[], $3::text::integer[], $4::text::smallint[], $5::text::smallint[],
            $6::text::uuid[], $7::text::float8[], $8::text::float8[], $9::text[], $11::text::integer[],
            $12::text::integer[])
     AS r (tenant_id, id, attempt, status, retries_used, worker_id, assigned_at, started_at, error, output_start,
           output_length);
