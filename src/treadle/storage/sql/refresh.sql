-- name: set_timeout :exec
-- Move the deadline of a running attempt.
UPDATE treadle.attempt SET timeout_at = $4::timestamptz
WHERE tenant_id = $1::integer AND task_id = $2::uuid AND attempt = $3::integer;

-- name: set_slot_released :exec
-- Note that a running attempt has given its slot back.
UPDATE treadle.attempt SET slot_released = true
WHERE tenant_id = $1::integer AND task_id = $2::uuid AND attempt = $3::integer;
