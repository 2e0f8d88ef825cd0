-- The core schema: what the queue needs to never lose work.
-- Ids are UUIDv7; tables that grow are range-partitioned by the id itself, one partition a day (storage/partitions.py).
-- Every key begins with the tenant's number, so a query cannot leave its tenant by accident.

CREATE SCHEMA IF NOT EXISTS treadle;

CREATE TABLE treadle.tenant (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id   uuid NOT NULL UNIQUE,
    name        text NOT NULL UNIQUE,
    created_at  timestamptz NOT NULL
);

-- The secret that signs API tokens; one row, made at the first start.
CREATE TABLE treadle.signing_key (
    id          smallint PRIMARY KEY CHECK (id = 1),
    secret      bytea NOT NULL,
    created_at  timestamptz NOT NULL
);

CREATE TABLE treadle.api_token (
    token_id    uuid PRIMARY KEY,
    tenant_id   integer NOT NULL,
    name        text NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    revoked_at  timestamptz
);

CREATE TABLE treadle.workflow (
    tenant_id   integer NOT NULL,
    id          uuid NOT NULL,
    name        text NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
);

-- The newest number of a workflow is its current version; runs keep the version they were triggered with.
CREATE TABLE treadle.workflow_version (
    number        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id     integer NOT NULL,
    id            uuid NOT NULL UNIQUE,
    workflow_id   uuid NOT NULL,
    content_hash  text NOT NULL,
    definition    json NOT NULL,
    created_at    timestamptz NOT NULL
);
CREATE INDEX workflow_version_newest ON treadle.workflow_version (tenant_id, workflow_id, number DESC);

-- One queue for each action that a worker can name when it registers.
CREATE TABLE treadle.queue (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id  integer NOT NULL,
    name       text NOT NULL,
    UNIQUE (tenant_id, name)
);

CREATE TABLE treadle.worker (
    tenant_id      integer NOT NULL,
    id             uuid NOT NULL,
    name           text NOT NULL,
    protocol       smallint NOT NULL,          -- 1 the Hatchet contract, 2 treadle.v1
    actions        text[] NOT NULL,
    slots          json NOT NULL,              -- slot type -> units
    labels         json NOT NULL,
    runtime        json NOT NULL,
    paused         boolean NOT NULL DEFAULT false,
    registered_at  timestamptz NOT NULL,
    last_seen_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

-- One task run: immutable from the moment it is triggered.
CREATE TABLE treadle.task (
    id           uuid NOT NULL,
    parent_id    uuid,
    tenant_id    integer NOT NULL,
    queue_id     integer NOT NULL,
    version      bigint NOT NULL,              -- workflow_version.number
    child_index  integer,
    step         smallint NOT NULL,            -- index of the task within its workflow
    priority     smallint NOT NULL,
    created_at   timestamptz NOT NULL,
    child_key    text,
    metadata     text,                         -- a JSON object, or null
    input        bytea NOT NULL,               -- a JSON object, never parsed here
    PRIMARY KEY (tenant_id, id)
) PARTITION BY RANGE (id);

-- How a task run ended. Timings of the last attempt stand here, so a simple run needs no history rows.
CREATE TABLE treadle.task_result (
    id            uuid NOT NULL,
    worker_id     uuid,
    tenant_id     integer NOT NULL,
    attempt       integer NOT NULL,
    status        smallint NOT NULL,           -- model/states.py RunStatus
    retries_used  smallint NOT NULL,
    assigned_at   timestamptz,
    started_at    timestamptz,
    finished_at   timestamptz NOT NULL,
    error         text,
    output        bytea,
    PRIMARY KEY (tenant_id, id)
) PARTITION BY RANGE (id);

-- Which child a parent has already spawned under a key or index: the same key gives the same child on a retry.
CREATE TABLE treadle.child (
    parent_id  uuid NOT NULL,
    child_id   uuid NOT NULL,
    tenant_id  integer NOT NULL,
    key        text NOT NULL,
    PRIMARY KEY (tenant_id, parent_id, key)
) PARTITION BY RANGE (parent_id);

CREATE TABLE treadle.log_line (
    task_id    uuid NOT NULL,
    tenant_id  integer NOT NULL,
    attempt    integer NOT NULL,
    seq        bigint GENERATED ALWAYS AS IDENTITY,
    at         timestamptz NOT NULL,
    level      text NOT NULL,
    message    text NOT NULL,
    metadata   text,
    PRIMARY KEY (tenant_id, task_id, seq)
) PARTITION BY RANGE (task_id);

-- What happened, append-only. One row tells of all tasks to which the same thing happened in the same commit.
CREATE TABLE treadle.event_log (
    id         bigint GENERATED ALWAYS AS IDENTITY,
    at         timestamptz NOT NULL,
    tenant_id  integer NOT NULL,
    kind       smallint NOT NULL,              -- model/states.py EventKind
    task_ids   uuid[] NOT NULL,
    attempts   integer[] NOT NULL,
    details    text[],                         -- per task, or null when there is nothing to say
    PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);
-- Ids do not compress: trying costs more than storing them.
ALTER TABLE treadle.event_log ALTER COLUMN task_ids SET STORAGE EXTERNAL, ALTER COLUMN attempts SET STORAGE MAIN;

-- A queued attempt. Narrow, inserted and deleted, never updated.
CREATE TABLE treadle.queue_item (
    task_id       uuid NOT NULL,
    position      bigint NOT NULL,             -- order within a rank; retries stand before first attempts
    expires_at    timestamptz NOT NULL,        -- schedule timeout
    tenant_id     integer NOT NULL,
    queue_id      integer NOT NULL,
    attempt       integer NOT NULL,
    rank          smallint NOT NULL,           -- minus the priority: ascending order serves the urgent first
    retries_used  smallint NOT NULL,
    reassigned    smallint NOT NULL,
    PRIMARY KEY (tenant_id, queue_id, rank, position)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000);
CREATE UNIQUE INDEX queue_item_task ON treadle.queue_item (tenant_id, task_id);
CREATE INDEX queue_item_expiry ON treadle.queue_item (expires_at);

-- A running attempt. Slots in use derive from these rows, so a slot cannot leak.
CREATE TABLE treadle.attempt (
    task_id       uuid NOT NULL,
    worker_id     uuid NOT NULL,
    assigned_at   timestamptz NOT NULL,
    timeout_at    timestamptz NOT NULL,
    started_at    timestamptz,
    tenant_id     integer NOT NULL,
    attempt       integer NOT NULL,
    retries_used  smallint NOT NULL,
    reassigned    smallint NOT NULL,
    slot_released boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant_id, task_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0);

-- A failed attempt that waits for its backoff to pass.
CREATE TABLE treadle.timer (
    task_id       uuid NOT NULL,
    due_at        timestamptz NOT NULL,
    tenant_id     integer NOT NULL,
    attempt       integer NOT NULL,            -- the attempt that will be queued
    retries_used  smallint NOT NULL,
    reassigned    smallint NOT NULL,
    PRIMARY KEY (tenant_id, task_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX timer_due ON treadle.timer (due_at);

-- Queue positions are handed out in blocks, so that enqueueing needs no RETURNING.
CREATE SEQUENCE treadle.queue_position AS bigint INCREMENT BY 100000 START WITH 100000;
