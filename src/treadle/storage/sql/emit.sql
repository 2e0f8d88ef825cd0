-- name: insert_events :exec
-- Append to the event log: one row for each (tenant, kind) of this commit, in the order in which they came. Arrays of
-- arrays would have to be square, so each row's arrays travel as literals.
INSERT INTO treadle.event_log (at, tenant_id, kind, task_ids, attempts, details)
SELECT $1::timestamptz, tenant_id, kind, task_ids::uuid[], attempts::integer[],
       (SELECT array_agg(d #>> '{}') FROM json_array_elements(details::json) AS d)
FROM unnest($2::integer[], $3::smallint[], $4::text[], $5::text[], $6::text[])
     AS e (tenant_id, kind, task_ids, attempts, details);

-- name: insert_logs :exec
-- Store log lines that tasks wrote.
INSERT INTO treadle.log_line (tenant_id, task_id, attempt, at, level, message, metadata)
SELECT tenant_id, task_id, attempt, to_timestamp(at), level, message, metadata
FROM unnest($1::text::integer[], $2::text::uuid[], $3::text::integer[], $4::text::float8[], $5::text[], $6::text[],
            $7::text[])
     AS l (tenant_id, task_id, attempt, at, level, message, metadata);
