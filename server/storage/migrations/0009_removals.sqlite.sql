CREATE TABLE removal (
	id TEXT NOT NULL,
	organisation TEXT NOT NULL,
	reason TEXT NOT NULL,
	state TEXT NOT NULL,
	proposed_by TEXT NOT NULL,
	proposed_at INTEGER NOT NULL,
	expires_at INTEGER NOT NULL,
	decided_by TEXT,
	decided_at INTEGER,
	decided_reason TEXT NOT NULL,
	CONSTRAINT pk_removal PRIMARY KEY (id),
	CONSTRAINT ck_removal_state CHECK (state IN ('open', 'approved', 'done', 'refused', 'expired')),
	CONSTRAINT fk_removal_organisation FOREIGN KEY(organisation) REFERENCES organisation (id),
	CONSTRAINT fk_removal_proposed_by FOREIGN KEY(proposed_by) REFERENCES membership (id),
	CONSTRAINT fk_removal_decided_by FOREIGN KEY(decided_by) REFERENCES membership (id)
)
;;
CREATE INDEX ix_removal_organisation ON removal (organisation, proposed_at)
;;
CREATE TABLE study_hold (
	id TEXT NOT NULL,
	organisation TEXT NOT NULL,
	study_uid TEXT NOT NULL,
	reason TEXT NOT NULL,
	set_by TEXT NOT NULL,
	set_at INTEGER NOT NULL,
	lifted_by TEXT,
	lifted_at INTEGER,
	lifted_reason TEXT NOT NULL,
	CONSTRAINT pk_study_hold PRIMARY KEY (id),
	CONSTRAINT fk_study_hold_organisation FOREIGN KEY(organisation) REFERENCES organisation (id),
	CONSTRAINT fk_study_hold_set_by FOREIGN KEY(set_by) REFERENCES membership (id),
	CONSTRAINT fk_study_hold_lifted_by FOREIGN KEY(lifted_by) REFERENCES membership (id)
)
;;
CREATE UNIQUE INDEX ux_study_hold_in_force ON study_hold (organisation, study_uid) WHERE lifted_at IS NULL
;;
CREATE TABLE removal_study (
	id TEXT NOT NULL,
	removal TEXT NOT NULL,
	organisation TEXT NOT NULL,
	study_uid TEXT NOT NULL,
	study_date TEXT NOT NULL,
	modalities TEXT NOT NULL,
	series INTEGER NOT NULL,
	instances INTEGER NOT NULL,
	state TEXT NOT NULL,
	why TEXT NOT NULL,
	ended_at INTEGER,
	CONSTRAINT pk_removal_study PRIMARY KEY (id),
	CONSTRAINT ck_removal_study_state CHECK (state IN ('waiting', 'removed', 'kept')),
	CONSTRAINT fk_removal_study_removal FOREIGN KEY(removal) REFERENCES removal (id),
	CONSTRAINT fk_removal_study_organisation FOREIGN KEY(organisation) REFERENCES organisation (id)
)
;;
CREATE INDEX ix_removal_study_removal ON removal_study (removal)
;;
CREATE INDEX ix_removal_study_uid ON removal_study (study_uid, state)
;;
CREATE UNIQUE INDEX ux_removal_study_waiting ON removal_study (organisation, study_uid) WHERE state = 'waiting'
