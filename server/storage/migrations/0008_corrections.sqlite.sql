CREATE TABLE study_correction (
	id TEXT NOT NULL,
	organisation TEXT NOT NULL,
	kind TEXT NOT NULL,
	study_uid TEXT NOT NULL,
	target_uid TEXT NOT NULL,
	detail TEXT NOT NULL,
	reason TEXT NOT NULL,
	state TEXT NOT NULL,
	made_by TEXT NOT NULL,
	made_at INTEGER NOT NULL,
	undone_by TEXT,
	undone_at INTEGER,
	CONSTRAINT pk_study_correction PRIMARY KEY (id),
	CONSTRAINT ck_study_correction_kind CHECK (kind IN ('patient', 'merge', 'move', 'split')),
	CONSTRAINT ck_study_correction_state CHECK (state IN ('planned', 'done', 'undoing', 'undone', 'refused')),
	CONSTRAINT fk_study_correction_organisation FOREIGN KEY(organisation) REFERENCES organisation (id),
	CONSTRAINT fk_study_correction_made_by FOREIGN KEY(made_by) REFERENCES membership (id),
	CONSTRAINT fk_study_correction_undone_by FOREIGN KEY(undone_by) REFERENCES membership (id)
)
;;
CREATE INDEX ix_study_correction_organisation ON study_correction (organisation, made_at)
