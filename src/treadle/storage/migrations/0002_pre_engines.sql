-- Several engines on one database: who lives, who owns which tenant, and how a dead one is kept from writing.

-- A row lives as long as its engine's writer connection and its heartbeat. An engine that loses either starts over
-- under a new id, so the id is its epoch.
CREATE TABLE treadle.engine (
    id            uuid PRIMARY KEY,
    address       text NOT NULL,              -- host:port for other engines; '' when it takes no calls
    schedules     boolean NOT NULL,           -- whether it may own tenants
    writer_pid    integer NOT NULL,
    writer_since  timestamptz NOT NULL,       -- with the pid, names one backend for ever
    heartbeat_at  timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- Each tenant's scheduler is owned by at most one engine. The epoch counts owners.
CREATE TABLE treadle.lease (
    tenant_id  integer PRIMARY KEY,
    engine_id  uuid,
    epoch      bigint NOT NULL
);

-- Called first in every transaction of an engine's loop. The lock keeps the engine's row, and with it its right to
-- write, until the transaction ends: whoever takes over must first end the transaction.
CREATE FUNCTION treadle.fence(mine uuid) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM treadle.engine WHERE id = mine FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'engine % has been superseded', mine USING ERRCODE = 'TR001';
    END IF;
END
$$;
