-- name: mark_started :exec
-- Note that attempts have begun, for workers that cannot tell after a reconnect what they run.
UPDATE treadle.attempt a
SET started_at = to_timestamp(k.started_at)
FROM unnest($1::text::integer[], $2::text::uuid[], $3::text::integer[], $4::text::float8[])
     AS k (tenant_id, task_id, attempt, started_at)
WHERE a.tenant_id = k.tenant_id AND a.task_id = k.task_id AND a.attempt = k.attempt AND a.started_at IS NULL;
