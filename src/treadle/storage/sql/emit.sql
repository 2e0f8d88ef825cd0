-- name: insert_events :exec
-- Append to the event log: one row for each (tenant, kind) of this commit, in the order in which they came.
INSERT INTO treadle.event_log (at, tenant_id, kind, task_ids, attempts, details)
SELECT $1::timestamptz, tenant_id, kind, array_agg(task_id ORDER BY place), array_agg(attempt ORDER BY place),
       CASE WHEN count(detail) > 0 THEN array_agg(detail ORDER BY place) END
FROM unnest($2::text::integer[], $3::text::smallint[], $4::text::uuid[], $5::text::integer[], $6::text[])
     WITH ORDINALITY AS e (tenant_id, kind, task_id, attempt, detail, place)
GROUP BY tenant_id, kind
ORDER BY min(place);

-- name: insert_logs :exec
-- Store log lines that tasks wrote.
INSERT INTO treadle.log_line (tenant_id, task_id, attempt, at, level, message, metadata)
SELECT tenant_id, task_id, attempt, to_timestamp(at), level, message, metadata
FROM unnest($1::text::integer[], $2::text::uuid[], $3::text::integer[], $4::text::float8[], $5::text[], $6::text[],
            $7::text[])
     AS l (tenant_id, task_id, attempt, at, level, message, metadata);
