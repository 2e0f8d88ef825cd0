-- name: insert_tasks :exec
-- Store new task runs. Repeating a batch whose first outcome is unknown is harmless: what exists stays as it is.
INSERT INTO treadle.task
    (tenant_id, id, version, step, queue_id, priority, input, metadata, parent_id, child_index, child_key, created_at)
SELECT tenant_id, id, version, step, queue_id, priority, substring($7::bytea FROM input_start FOR input_length),
       metadata, parent_id, child_index, child_key, $14::timestamptz
FROM unnest($1::text::integer[], $2::text::uuid[], $3::text::bigint[], $4::text::smallint[], $5::text::integer[],
            $6::text::smallint[], $8::text::integer[], $9::text::integer[], $10::text[], $11::text::uuid[],
            $12::text::integer[], $13::text[])
     AS t (tenant_id, id, version, step, queue_id, priority, input_start, input_length, metadata, parent_id,
           child_index, child_key)
ON CONFLICT DO NOTHING;

-- name: existing_tasks :many
-- Which of these ids are stored already: asked only after a commit whose outcome is unknown.
SELECT t.id
FROM unnest($1::text::integer[], $2::text::uuid[]) AS k (tenant_id, id)
JOIN treadle.task t ON t.tenant_id = k.tenant_id AND t.id = k.id;

-- name: claim_children :many
-- Claim (parent, key) for new children; the ones returned are ours, the others exist already.
INSERT INTO treadle.child (tenant_id, parent_id, key, child_id)
SELECT tenant_id, parent_id, key, child_id
FROM unnest($1::text::integer[], $2::text::uuid[], $3::text[], $4::text::uuid[]) AS c (tenant_id, parent_id, key, child_id)
ON CONFLICT DO NOTHING
RETURNING child_id;

-- name: existing_children :many
-- The child that stands under each (parent, key).
SELECT c.tenant_id, c.parent_id, c.key, c.child_id
FROM unnest($1::text::integer[], $2::text::uuid[], $3::text[]) AS k (tenant_id, parent_id, key)
JOIN treadle.child c ON c.tenant_id = k.tenant_id AND c.parent_id = k.parent_id AND c.key = k.key;
