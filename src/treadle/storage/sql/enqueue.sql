-- name: load_window :many
-- The next items of one queue after the key ($3, $4), most urgent first, with inputs of up to $6 bytes.
SELECT q.rank, q.position, q.task_id, q.attempt, q.retries_used, q.reassigned, q.expires_at,
       t.version, t.step, t.priority, t.metadata, t.parent_id, t.child_index, t.child_key, t.created_at,
       t.run_id, t.triggers, CASE WHEN t.run_id IS NULL AND octet_length(t.input) <= $6::integer THEN t.input END AS input
FROM (
    SELECT rank, position, task_id, attempt, retries_used, reassigned, expires_at
    FROM treadle.queue_item
    WHERE tenant_id = $1::integer AND queue_id = $2::integer AND (rank, position) > ($3::smallint, $4::bigint)
    ORDER BY rank, position
    LIMIT $5::integer
) q
JOIN treadle.task t ON t.tenant_id = $1::integer AND t.id = q.task_id
ORDER BY q.rank, q.position;

-- name: filled_queues :many
-- Every queue of a tenant that holds at least one item, found by skipping from queue to queue along the index.
WITH RECURSIVE filled AS (
    (SELECT tenant_id, queue_id FROM treadle.queue_item WHERE tenant_id = $1::integer ORDER BY queue_id LIMIT 1)
    UNION ALL
    SELECT n.tenant_id, n.queue_id
    FROM filled f
    CROSS JOIN LATERAL (
        SELECT q.tenant_id, q.queue_id FROM treadle.queue_item q
        WHERE q.tenant_id = f.tenant_id AND q.queue_id > f.queue_id
        ORDER BY q.queue_id LIMIT 1
    ) n
)
SELECT queue_id FROM filled;

-- name: next_position :one
-- Reserve a block of queue positions for this engine; the value is the last of the block.
SELECT nextval('treadle.queue_position') AS last;
