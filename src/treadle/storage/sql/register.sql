-- name: ensure_workflow :one
-- The workflow of this name, made if it is new; the row stays locked so that versions are put one after another.
INSERT INTO treadle.workflow (tenant_id, id, name, created_at)
VALUES ($1::integer, $2::uuid, $3::text, $4::timestamptz)
ON CONFLICT (tenant_id, name) DO UPDATE SET name = excluded.name
RETURNING id;

-- name: newest_version :one
-- The current version of a workflow.
SELECT number, tenant_id, id, workflow_id, content_hash, definition
FROM treadle.workflow_version
WHERE tenant_id = $1::integer AND workflow_id = $2::uuid
ORDER BY number DESC
LIMIT 1;

-- name: insert_version :one
-- A new version, which becomes the current one.
INSERT INTO treadle.workflow_version (tenant_id, id, workflow_id, content_hash, definition, created_at)
VALUES ($1::integer, $2::uuid, $3::uuid, $4::text, $5::json, $6::timestamptz)
RETURNING number, tenant_id, id, workflow_id, content_hash, definition;

-- name: current_version :one
-- The current version of the workflow with this name.
SELECT v.number, v.tenant_id, v.id, v.workflow_id, v.content_hash, v.definition
FROM treadle.workflow w
JOIN treadle.workflow_version v ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id
WHERE w.tenant_id = $1::integer AND w.name = $2::text
ORDER BY v.number DESC
LIMIT 1;

-- name: versions :many
-- Versions by number.
SELECT number, tenant_id, id, workflow_id, content_hash, definition
FROM treadle.workflow_version
WHERE number = ANY ($1::bigint[]);

-- name: task_versions :many
-- Which version and step stored task runs belong to, and which workflow run.
SELECT t.id, t.version, t.step, t.run_id
FROM unnest($1::integer[], $2::uuid[]) AS k (tenant_id, id)
JOIN treadle.task t ON t.tenant_id = k.tenant_id AND t.id = k.id;

-- name: ensure_queues :many
-- The queues of these actions, made where they are new.
WITH made AS (
    INSERT INTO treadle.queue (tenant_id, name)
    SELECT $1::integer, name FROM unnest($2::text[]) AS n (name)
    WHERE NOT EXISTS (SELECT 1 FROM treadle.queue q WHERE q.tenant_id = $1::integer AND q.name = n.name)
    ON CONFLICT (tenant_id, name) DO NOTHING
    RETURNING id, name
)
SELECT id, name FROM made
UNION
SELECT id, name FROM treadle.queue WHERE tenant_id = $1::integer AND name = ANY ($2::text[]);

-- name: insert_worker :exec
-- A worker that registers.
INSERT INTO treadle.worker
    (tenant_id, id, name, protocol, actions, slots, labels, runtime, registered_at, last_seen_at)
VALUES ($1::integer, $2::uuid, $3::text, $4::smallint, $5::text[], $6::json, $7::json, $8::json, $9::timestamptz,
        $9::timestamptz)
ON CONFLICT (tenant_id, id) DO UPDATE
SET name = excluded.name, actions = excluded.actions, slots = excluded.slots, labels = excluded.labels,
    runtime = excluded.runtime, last_seen_at = excluded.last_seen_at;

-- name: find_worker :one
-- A worker that registered earlier.
SELECT id, tenant_id, name, protocol, actions, slots, labels, runtime, paused, registered_at, last_seen_at
FROM treadle.worker
WHERE tenant_id = $1::integer AND id = $2::uuid;

-- name: set_worker_paused :exec
-- Pause or resume a worker.
UPDATE treadle.worker SET paused = $3::boolean WHERE tenant_id = $1::integer AND id = $2::uuid;

-- name: set_worker_labels :exec
-- Replace a worker's labels.
UPDATE treadle.worker SET labels = $3::json WHERE tenant_id = $1::integer AND id = $2::uuid;

-- name: touch_workers :exec
-- Note when workers were last heard of; written now and then, never per heartbeat.
UPDATE treadle.worker w SET last_seen_at = k.last_seen_at
FROM unnest($1::integer[], $2::uuid[], $3::timestamptz[]) AS k (tenant_id, id, last_seen_at)
WHERE w.tenant_id = k.tenant_id AND w.id = k.id;
