-- name: earliest :many
-- Per wanted key, the stored events after an id and not before a time, in the order in which they were pushed, at most $6
-- each. A wanted scope must be theirs. An id is its own time, so each look reads only the days from its own id on.
SELECT k.place, e.id, e.at, e.metadata, e.payload
FROM unnest($1::text::integer[], $2::text[], $3::text[], $4::timestamptz[], $5::text::uuid[])
     WITH ORDINALITY AS k (tenant_id, key, scope, since, after, place)
CROSS JOIN LATERAL (
    -- Two branches, of which one finds nothing, because each has an index of its own.
    (SELECT id, at, metadata, CASE WHEN octet_length(payload) <= $7::integer THEN payload END AS payload
     FROM treadle.event
     WHERE k.scope IS NULL AND tenant_id = k.tenant_id AND key = k.key AND id > k.after AND at >= k.since
     ORDER BY id
     LIMIT $6::integer)
    UNION ALL
    (SELECT id, at, metadata, CASE WHEN octet_length(payload) <= $7::integer THEN payload END AS payload
     FROM treadle.event
     WHERE scope = k.scope AND tenant_id = k.tenant_id AND key = k.key AND id > k.after AND at >= k.since
     ORDER BY id
     LIMIT $6::integer)
) e
ORDER BY k.place, e.id;

-- name: load_payload :one
-- The payload of one event.
SELECT payload FROM treadle.event WHERE tenant_id = $1::integer AND id = $2::uuid;

-- name: existing_events :many
-- Which of these ids are stored.
SELECT e.id
FROM unnest($2::text::uuid[]) AS k (id)
CROSS JOIN LATERAL (SELECT id FROM treadle.event WHERE tenant_id = $1::integer AND id = k.id LIMIT 1) e;
