CREATE TABLE recording (
	id TEXT NOT NULL,
	consultation TEXT NOT NULL,
	session TEXT NOT NULL,
	asked_by TEXT NOT NULL,
	asked_at TIMESTAMP WITH TIME ZONE NOT NULL,
	key TEXT NOT NULL,
	stage TEXT NOT NULL,
	stopped_at TIMESTAMP WITH TIME ZONE,
	stop_reason TEXT NOT NULL,
	milliseconds BIGINT NOT NULL,
	size BIGINT NOT NULL,
	spans JSON NOT NULL,
	whole BOOLEAN NOT NULL,
	held_by TEXT,
	held_at TIMESTAMP WITH TIME ZONE,
	held_reason TEXT NOT NULL,
	removed_at TIMESTAMP WITH TIME ZONE,
	version BIGINT NOT NULL,
	CONSTRAINT pk_recording PRIMARY KEY (id),
	CONSTRAINT ck_recording_stage CHECK ("stage" IN ('open', 'waiting', 'ready', 'failed', 'empty', 'withheld', 'removed')),
	CONSTRAINT fk_recording_consultation FOREIGN KEY(consultation) REFERENCES consultation (id),
	CONSTRAINT fk_recording_session FOREIGN KEY(session) REFERENCES session (id),
	CONSTRAINT fk_recording_asked_by FOREIGN KEY(asked_by) REFERENCES membership (id),
	CONSTRAINT fk_recording_held_by FOREIGN KEY(held_by) REFERENCES membership (id)
)
;;
CREATE INDEX ix_recording_consultation ON recording (consultation)
;;
CREATE INDEX ix_recording_stage ON recording (stage, asked_at)
;;
CREATE UNIQUE INDEX ux_recording_open ON recording (session) WHERE stage = 'open'
;;
CREATE TABLE recording_event (
	id TEXT NOT NULL,
	recording TEXT NOT NULL,
	n BIGINT NOT NULL,
	at TIMESTAMP WITH TIME ZONE NOT NULL,
	kind TEXT NOT NULL,
	membership TEXT,
	seat TEXT,
	person TEXT NOT NULL,
	people JSON NOT NULL,
	words TEXT NOT NULL,
	reason TEXT NOT NULL,
	mark TEXT NOT NULL,
	CONSTRAINT pk_recording_event PRIMARY KEY (id),
	CONSTRAINT uq_recording_event_recording_n UNIQUE (recording, n),
	CONSTRAINT ck_recording_event_kind CHECK ("kind" IN ('asked', 'declared', 'given', 'refused', 'withdrawn', 'running', 'paused', 'stopped')),
	CONSTRAINT fk_recording_event_recording FOREIGN KEY(recording) REFERENCES recording (id),
	CONSTRAINT fk_recording_event_membership FOREIGN KEY(membership) REFERENCES membership (id),
	CONSTRAINT fk_recording_event_seat FOREIGN KEY(seat) REFERENCES seat (id)
)
;;
CREATE TRIGGER recording_event_insert_only BEFORE UPDATE OR DELETE ON recording_event FOR EACH ROW EXECUTE FUNCTION refuse_change()
;;
CREATE TRIGGER recording_event_no_truncate BEFORE TRUNCATE ON recording_event FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
