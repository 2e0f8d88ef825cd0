-- name: take_expired_items :many
-- Take queued attempts whose schedule timeout passed by $1, at most $2.
WITH expired AS (
    SELECT tenant_id, queue_id, rank, position FROM treadle.queue_item
    WHERE expires_at <= $1::timestamptz AND tenant_id = ANY ($3::integer[])
    ORDER BY expires_at LIMIT $2::integer
)
DELETE FROM treadle.queue_item q
USING expired e
WHERE q.tenant_id = e.tenant_id AND q.queue_id = e.queue_id AND q.rank = e.rank AND q.position = e.position
RETURNING q.tenant_id, q.queue_id, q.task_id, q.attempt, q.retries_used;

-- name: next_expiry :one
-- When the earliest queued attempt of these tenants expires.
SELECT min(expires_at) AS expires_at FROM treadle.queue_item WHERE tenant_id = ANY ($1::integer[]);
