-- A small commit in one round trip: what an idle engine does for one run. Larger ones begin a transaction and use COPY.
-- Rows come as the tables' own row types; what is not given by the engine is null there and left out here.
CREATE FUNCTION treadle.write_at_once(
    mine uuid, ended treadle.attempt[], tasks treadle.task[], results treadle.task_result[], attempts treadle.attempt[],
    events treadle.event_log[]
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    gone integer;
BEGIN
    PERFORM treadle.fence(mine);
    IF cardinality(ended) > 0 THEN
        DELETE FROM treadle.attempt a USING unnest(ended) e
        WHERE a.tenant_id = e.tenant_id AND a.task_id = e.task_id AND a.attempt = e.attempt;
        GET DIAGNOSTICS gone = ROW_COUNT;
        IF gone <> cardinality(ended) THEN
            RAISE EXCEPTION '% of % attempts were not current any more', cardinality(ended) - gone, cardinality(ended)
                USING ERRCODE = 'TR002';
        END IF;
    END IF;
    IF cardinality(tasks) > 0 THEN
        INSERT INTO treadle.task SELECT t.* FROM unnest(tasks) t;
    END IF;
    IF cardinality(results) > 0 THEN
        INSERT INTO treadle.task_result SELECT r.* FROM unnest(results) r;
    END IF;
    IF cardinality(attempts) > 0 THEN
        INSERT INTO treadle.attempt SELECT a.* FROM unnest(attempts) a;
    END IF;
    IF cardinality(events) > 0 THEN
        INSERT INTO treadle.event_log (at, tenant_id, kind, task_ids, attempts, details)
        SELECT e.at, e.tenant_id, e.kind, e.task_ids, e.attempts, e.details FROM unnest(events) e;
    END IF;
END
$$;
