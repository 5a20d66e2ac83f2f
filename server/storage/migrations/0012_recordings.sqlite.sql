CREATE TABLE recording (
	id TEXT NOT NULL,
	consultation TEXT NOT NULL,
	session TEXT NOT NULL,
	asked_by TEXT NOT NULL,
	asked_at INTEGER NOT NULL,
	"key" TEXT NOT NULL,
	stage TEXT NOT NULL,
	stopped_at INTEGER,
	stop_reason TEXT NOT NULL,
	milliseconds INTEGER NOT NULL,
	size INTEGER NOT NULL,
	spans TEXT NOT NULL,
	whole BOOLEAN NOT NULL,
	held_by TEXT,
	held_at INTEGER,
	held_reason TEXT NOT NULL,
	removed_at INTEGER,
	version INTEGER NOT NULL,
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
	n INTEGER NOT NULL,
	at INTEGER NOT NULL,
	kind TEXT NOT NULL,
	membership TEXT,
	seat TEXT,
	person TEXT NOT NULL,
	people TEXT NOT NULL,
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
CREATE TRIGGER recording_event_no_update BEFORE UPDATE ON recording_event BEGIN SELECT RAISE(ABORT, 'recording_event is insert-only'); END
;;
CREATE TRIGGER recording_event_no_delete BEFORE DELETE ON recording_event BEGIN SELECT RAISE(ABORT, 'recording_event is insert-only'); END
