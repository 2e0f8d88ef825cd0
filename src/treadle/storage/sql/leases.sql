-- name: enlist :exec
-- A new engine, told apart from all others by its id and by the backend that writes for it.
INSERT INTO treadle.engine (id, address, schedules, writer_pid, writer_since, heartbeat_at)
SELECT $1::uuid, $2::text, $3::boolean, a.pid, a.backend_start, clock_timestamp()
FROM pg_stat_activity a
WHERE a.pid = pg_backend_pid();

-- name: beat :one
-- A heartbeat, if the engine has not been superseded. One that lives ends the writers of the engines that have been
-- silent for longer than $2 seconds, so that a transaction of theirs cannot outlive their right. An engine whose writer
-- is gone has nothing to end. One statement, because an idle engine does little else.
WITH beaten AS (
    UPDATE treadle.engine SET heartbeat_at = clock_timestamp() WHERE id = $1::uuid RETURNING id
), silent AS MATERIALIZED (
    SELECT e.id, CASE WHEN a.pid IS NOT NULL THEN pg_terminate_backend(a.pid) END AS ended
    FROM treadle.engine e
    CROSS JOIN beaten b
    LEFT JOIN pg_stat_activity a ON a.pid = e.writer_pid AND a.backend_start = e.writer_since
    WHERE e.id <> b.id
      AND (a.pid IS NULL OR e.heartbeat_at < clock_timestamp() - make_interval(secs => $2::float8))
)
SELECT EXISTS (SELECT 1 FROM beaten) AS alive, ARRAY (SELECT id FROM silent) AS dead,
       (SELECT count(ended) FROM silent) AS ended;

-- name: bury :many
-- Take away the rows of silent engines, and with them their leases.
WITH dead AS (
    DELETE FROM treadle.engine WHERE id = ANY ($1::uuid[]) RETURNING id
)
UPDATE treadle.lease l SET engine_id = NULL FROM dead d WHERE l.engine_id = d.id RETURNING l.tenant_id;

-- name: look_around :many
-- Who lives, and every tenant with its owner, if it has one: rows of both kinds, because an idle engine asks this each
-- second and one statement costs half of two.
SELECT NULL AS tenant_id, id AS engine_id, 0 AS epoch, address, schedules FROM treadle.engine
UNION ALL
SELECT t.id, l.engine_id, coalesce(l.epoch, 0), NULL, NULL
FROM treadle.tenant t
LEFT JOIN treadle.lease l ON l.tenant_id = t.id
ORDER BY tenant_id, engine_id;

-- name: claim :many
-- Take tenants that have no owner that lives; returns those that are ours now. The id of an engine that has gone never
-- comes back, so a lease in its name is free.
INSERT INTO treadle.lease AS l (tenant_id, engine_id, epoch)
SELECT tenant_id, $1::uuid, 1 FROM unnest($2::integer[]) AS t (tenant_id)
ON CONFLICT (tenant_id) DO UPDATE SET engine_id = excluded.engine_id, epoch = l.epoch + 1
WHERE l.engine_id IS NULL OR NOT EXISTS (SELECT 1 FROM treadle.engine e WHERE e.id = l.engine_id)
RETURNING l.tenant_id, l.epoch;

-- name: release :exec
-- Give tenants up.
UPDATE treadle.lease SET engine_id = NULL WHERE engine_id = $1::uuid AND tenant_id = ANY ($2::integer[]);

-- name: leave :exec
-- An engine that stops in good order takes its row away itself, and the others are told to take its tenants.
WITH gone AS (
    DELETE FROM treadle.engine WHERE id = $1::uuid RETURNING id
), free AS (
    UPDATE treadle.lease l SET engine_id = NULL FROM gone WHERE l.engine_id = gone.id
)
SELECT pg_notify('treadle', 'leases') FROM gone;

-- name: hint :exec
-- Tell the other engines that something has changed for a tenant. A lost hint costs one sweep, never a task.
SELECT pg_notify('treadle', $1::text);
