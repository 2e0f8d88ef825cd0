-- name: delete_queue_items :one
-- Take items out of the queue; answers how many were still there, which must be all of them.
WITH gone AS (
    DELETE FROM treadle.queue_item q
    USING unnest($1::text::integer[], $2::text::integer[], $3::text::smallint[], $4::text::bigint[])
          AS k (tenant_id, queue_id, rank, position)
    WHERE q.tenant_id = k.tenant_id AND q.queue_id = k.queue_id AND q.rank = k.rank AND q.position = k.position
    RETURNING 1
)
SELECT count(*) AS taken FROM gone;

-- name: load_inputs :many
-- Inputs too large to be kept in the window.
SELECT t.id, t.input
FROM unnest($1::text::integer[], $2::text::uuid[]) AS k (tenant_id, id)
JOIN treadle.task t ON t.tenant_id = k.tenant_id AND t.id = k.id;
