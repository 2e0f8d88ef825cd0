-- name: take_queued :many
-- Take the queued attempts of these tasks out of their queues.
DELETE FROM treadle.queue_item q
USING unnest($1::uuid[]) AS k (task_id)
WHERE q.tenant_id = $2::integer AND q.task_id = k.task_id
RETURNING q.queue_id, q.task_id, q.attempt, q.retries_used;

-- name: take_backing_off :many
-- Take the waiting retries of these tasks.
DELETE FROM treadle.timer r
USING unnest($1::uuid[]) AS k (task_id)
WHERE r.tenant_id = $2::integer AND r.task_id = k.task_id
RETURNING r.task_id, r.attempt, r.retries_used;
