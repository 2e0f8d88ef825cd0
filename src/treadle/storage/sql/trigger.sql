-- name: existing_tasks :many
-- Which of these ids are stored already: asked only after a commit whose outcome is unknown.
SELECT t.id
FROM unnest($1::text::integer[], $2::text::uuid[]) AS k (tenant_id, id)
JOIN treadle.task t ON t.tenant_id = k.tenant_id AND t.id = k.id;

-- name: parent_runs :many
-- Which of these ids are stored, and the workflow runs that they are tasks of.
SELECT t.id, t.run_id
FROM unnest($1::text::integer[], $2::text::uuid[]) AS k (tenant_id, id)
JOIN treadle.task t ON t.tenant_id = k.tenant_id AND t.id = k.id;

-- name: claim_children :one
-- Claim (parent, key) for new children: how many of them there were not yet.
WITH mine AS (
    INSERT INTO treadle.child (tenant_id, parent_id, key, child_id)
    SELECT tenant_id, parent_id, key, child_id
    FROM unnest($1::text::integer[], $2::text::uuid[], $3::text[], $4::text::uuid[]) AS c (tenant_id, parent_id, key, child_id)
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT count(*) AS claimed FROM mine;

-- name: existing_children :many
-- The child that stands under each (parent, key).
SELECT c.tenant_id, c.parent_id, c.key, c.child_id
FROM unnest($1::text::integer[], $2::text::uuid[], $3::text[]) AS k (tenant_id, parent_id, key)
JOIN treadle.child c ON c.tenant_id = k.tenant_id AND c.parent_id = k.parent_id AND c.key = k.key;
