-- name: day_partitions :many
-- Every partition, with the table that it is a part of.
SELECT p.relname AS parent, c.relname AS name
FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid
JOIN pg_class p ON p.oid = i.inhparent
JOIN pg_namespace n ON n.oid = p.relnamespace
WHERE n.nspname = 'treadle' AND p.relkind = 'p'
ORDER BY c.relname;

-- name: holds_unended :one
-- Whether a run that has not ended was made between two ids, or is the parent of one that was: a retry of the parent
-- asks for what its children returned. By tenant, so that the keys of the narrow tables serve. A workflow run that has not
-- ended has a task in one of them, with an id of the same day.
WITH unended AS (
    SELECT t.id AS tenant_id, w.task_id
    FROM treadle.tenant t
    CROSS JOIN LATERAL (
        SELECT q.task_id FROM treadle.queue_item q WHERE q.tenant_id = t.id AND q.task_id < $2::uuid
        UNION ALL
        SELECT a.task_id FROM treadle.attempt a WHERE a.tenant_id = t.id AND a.task_id < $2::uuid
        UNION ALL
        SELECT d.task_id FROM treadle.timer d WHERE d.tenant_id = t.id AND d.task_id < $2::uuid
        UNION ALL
        SELECT c.task_id FROM treadle.condition c WHERE c.tenant_id = t.id AND c.task_id < $2::uuid
    ) w
)
SELECT EXISTS (
    SELECT 1 FROM unended u
    WHERE u.task_id >= $1::uuid
       OR EXISTS (
            SELECT 1 FROM treadle.child c
            WHERE c.tenant_id = u.tenant_id AND c.parent_id = u.task_id
              AND c.child_id >= $1::uuid AND c.child_id < $2::uuid)
) AS held;

-- name: forget_replayed :exec
-- Tasks of a day whose runs are gone are never run again: nobody asks for the numbers of their attempts.
DELETE FROM treadle.replayed WHERE task_id >= $1::uuid AND task_id < $2::uuid;

-- name: lock_retention :one
-- One engine at a time; false when another one is at it.
SELECT pg_try_advisory_lock($1::bigint) AS locked;
