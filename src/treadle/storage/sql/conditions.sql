-- name: load_conditions :many
-- What these tasks wait for, by their place in the arrays.
SELECT k.place AS task_place, c.place, c.met_at IS NOT NULL AS met, c.data
FROM unnest($1::text::integer[], $2::text::uuid[]) WITH ORDINALITY AS k (tenant_id, id, place)
JOIN treadle.condition c ON c.tenant_id = k.tenant_id AND c.task_id = k.id;

-- name: take_due_sleeps :many
-- Sleeps that are over at $1, earliest first, at most about $2: noted as met. Those of one task come together, whatever
-- the limit: which of its actions is taken depends on that. OFFSET has each task looked up by its key, and ctid each row
-- found again, whatever the planner expects of their number; nobody else writes rows of these tenants.
UPDATE treadle.condition SET met_at = $1::timestamptz
WHERE ctid = ANY (ARRAY(
    SELECT s.ctid
    FROM (SELECT DISTINCT tenant_id, task_id
          FROM (SELECT tenant_id, task_id FROM treadle.condition
                WHERE due_at <= $1::timestamptz AND met_at IS NULL AND tenant_id = ANY ($3::integer[])
                ORDER BY due_at LIMIT $2::integer) e) d
    CROSS JOIN LATERAL (
        SELECT c.ctid FROM treadle.condition c
        WHERE c.tenant_id = d.tenant_id AND c.task_id = d.task_id AND c.due_at <= $1::timestamptz AND c.met_at IS NULL
        OFFSET 0
    ) s
))
RETURNING tenant_id, run_id, step, place;

-- name: next_sleep :one
-- When the earliest sleep of these tenants is over.
SELECT min(due_at) AS due_at FROM treadle.condition
WHERE due_at IS NOT NULL AND met_at IS NULL AND tenant_id = ANY ($1::integer[]);

-- name: waiting_for :many
-- Conditions that wait for events with these keys and any scope, or with these keys and scopes, with the workflow version
-- of each.
SELECT c.tenant_id, c.run_id, c.task_id, c.step, c.place, c.event_key, c.scope, t.version
FROM (
    SELECT c.* FROM unnest($1::text::integer[], $2::text[]) AS k (tenant_id, event_key)
    JOIN treadle.condition c
      ON c.tenant_id = k.tenant_id AND c.event_key = k.event_key AND c.scope IS NULL AND c.met_at IS NULL
    UNION ALL
    SELECT c.* FROM unnest($3::text::integer[], $4::text[], $5::text[]) AS k (tenant_id, event_key, scope)
    JOIN treadle.condition c
      ON c.tenant_id = k.tenant_id AND c.event_key = k.event_key AND c.scope = k.scope AND c.met_at IS NULL
) c
CROSS JOIN LATERAL (
    SELECT version FROM treadle.task WHERE tenant_id = c.tenant_id AND id = c.run_id LIMIT 1
) t;

-- name: set_met :exec
-- Note what has been met, of tasks that wait for more.
UPDATE treadle.condition c SET met_at = $1::timestamptz, data = k.data
FROM unnest($2::text::integer[], $3::text::uuid[], $4::text::smallint[], $5::text[])
     AS k (tenant_id, task_id, place, data)
WHERE c.tenant_id = k.tenant_id AND c.task_id = k.task_id AND c.place = k.place;

-- name: delete_conditions :exec
-- These tasks wait no more.
DELETE FROM treadle.condition c
USING unnest($1::text::integer[], $2::text::uuid[]) AS k (tenant_id, task_id)
WHERE c.tenant_id = k.tenant_id AND c.task_id = k.task_id;
