-- name: insert_tasks :exec
-- Store new task runs. Repeating a batch whose first outcome is unknown is harmless: what exists stays as it is.
INSERT INTO treadle.task
    (tenant_id, id, version, step, queue_id, priority, input, metadata, parent_id, child_index, child_key, created_at)
SELECT tenant_id, id, version, step, queue_id, priority, input, metadata, parent_id, child_index, child_key, $12::timestamptz
FROM unnest($1::integer[], $2::uuid[], $3::bigint[], $4::smallint[], $5::integer[], $6::smallint[], $7::bytea[],
            $8::text[], $9::uuid[], $10::integer[], $11::text[])
     AS t (tenant_id, id, version, step, queue_id, priority, input, metadata, parent_id, child_index, child_key)
ON CONFLICT DO NOTHING;

-- name: existing_tasks :many
-- Which of these ids are stored already: asked only after a commit whose outcome is unknown.
SELECT t.id
FROM unnest($1::integer[], $2::uuid[]) AS k (tenant_id, id)
JOIN treadle.task t ON t.tenant_id = k.tenant_id AND t.id = k.id;

-- name: claim_children :many
-- Claim (parent, key) for new children; the ones returned are ours, the others exist already.
INSERT INTO treadle.child (tenant_id, parent_id, key, child_id)
SELECT tenant_id, parent_id, key, child_id
FROM unnest($1::integer[], $2::uuid[], $3::text[], $4::uuid[]) AS c (tenant_id, parent_id, key, child_id)
ON CONFLICT DO NOTHING
RETURNING child_id;

-- name: existing_children :many
-- The child that stands under each (parent, key).
SELECT c.tenant_id, c.parent_id, c.key, c.child_id
FROM unnest($1::integer[], $2::uuid[], $3::text[]) AS k (tenant_id, parent_id, key)
JOIN treadle.child c ON c.tenant_id = k.tenant_id AND c.parent_id = k.parent_id AND c.key = k.key;
