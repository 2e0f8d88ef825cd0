-- Workflow runs of several tasks. The run itself is a row of treadle.task with step -1, and so is each of its tasks, with
-- run_id naming the run. The ids of the tasks follow from the run's (model/ids.py), so nothing need list them, and all
-- rows of one run lie in the partitions of one day.

ALTER TABLE treadle.task
    ADD COLUMN run_id    uuid,                 -- the workflow run that a task is part of; null for a run of its own
    ADD COLUMN triggers  text;                 -- JSON object: what met the conditions of the task, by data key

-- What a task of a workflow run still waits for once its parents have ended: sleeps and events, one row each, gone when
-- the task is queued, skipped or cancelled. `place` counts the sleeps of its definition and then the events.
CREATE TABLE treadle.condition (
    task_id    uuid NOT NULL,
    run_id     uuid NOT NULL,
    due_at     timestamptz,                    -- of a sleep
    met_at     timestamptz,
    tenant_id  integer NOT NULL,
    step       smallint NOT NULL,
    place      smallint NOT NULL,
    event_key  text,                           -- of an event
    scope      text,
    data       text,                           -- JSON of the event that met it
    PRIMARY KEY (tenant_id, task_id, place)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX condition_due ON treadle.condition (due_at) WHERE met_at IS NULL AND due_at IS NOT NULL;
CREATE INDEX condition_event ON treadle.condition (tenant_id, event_key, scope) WHERE met_at IS NULL AND event_key IS NOT NULL;

-- A task of a workflow run that ran before, was replayed, and waits for its parents again: the number of its next attempt.
CREATE TABLE treadle.replayed (
    task_id    uuid NOT NULL,
    run_id     uuid NOT NULL,
    tenant_id  integer NOT NULL,
    attempt    integer NOT NULL,
    PRIMARY KEY (tenant_id, task_id)
);

-- Events that users have pushed. The id's time is that of the commit.
CREATE TABLE treadle.event (
    id         uuid NOT NULL,
    tenant_id  integer NOT NULL,
    priority   smallint,
    at         timestamptz NOT NULL,
    key        text NOT NULL,
    scope      text,
    metadata   text,                           -- a JSON object, or null
    payload    bytea NOT NULL,                 -- a JSON object
    PRIMARY KEY (tenant_id, id)
) PARTITION BY RANGE (id);
CREATE INDEX event_by_key ON treadle.event (tenant_id, key, id);
-- An event that is meant for one run is looked for by its scope.
CREATE INDEX event_by_scope ON treadle.event (tenant_id, key, scope, id) WHERE scope IS NOT NULL;
