-- name: write_at_once :exec
-- A small commit, fenced and whole, outside any transaction block.
SELECT treadle.write_at_once(
    $1::uuid, $2::treadle.attempt[], $3::treadle.task[], $4::treadle.task_result[], $5::treadle.attempt[],
    $6::treadle.event_log[]);

-- name: write_at_once_with_children :exec
-- The same, with children that are new to their parents.
WITH children AS (
    INSERT INTO treadle.child SELECT c.* FROM unnest($7::treadle.child[]) c
)
SELECT treadle.write_at_once(
    $1::uuid, $2::treadle.attempt[], $3::treadle.task[], $4::treadle.task_result[], $5::treadle.attempt[],
    $6::treadle.event_log[]);
