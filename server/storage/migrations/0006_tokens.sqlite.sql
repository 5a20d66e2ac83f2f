CREATE TABLE study_change (
	organisation TEXT NOT NULL,
	n INTEGER NOT NULL,
	at INTEGER NOT NULL,
	study_uid TEXT NOT NULL,
	kind TEXT NOT NULL,
	CONSTRAINT pk_study_change PRIMARY KEY (organisation, n),
	CONSTRAINT ck_study_change_kind CHECK (kind IN ('stored', 'corrected', 'matched', 'voided', 'hidden', 'shown'))
)
;;
CREATE TABLE api_token (
	id TEXT NOT NULL,
	organisation TEXT NOT NULL,
	name TEXT NOT NULL,
	digest TEXT NOT NULL,
	start TEXT NOT NULL,
	rights TEXT NOT NULL,
	membership TEXT NOT NULL,
	created_at INTEGER NOT NULL,
	expires_at INTEGER NOT NULL,
	last_used INTEGER,
	revoked_at INTEGER,
	revoked_by TEXT,
	CONSTRAINT pk_api_token PRIMARY KEY (id),
	CONSTRAINT fk_api_token_organisation FOREIGN KEY(organisation) REFERENCES organisation (id),
	CONSTRAINT uq_api_token_digest UNIQUE (digest),
	CONSTRAINT fk_api_token_membership FOREIGN KEY(membership) REFERENCES membership (id),
	CONSTRAINT fk_api_token_revoked_by FOREIGN KEY(revoked_by) REFERENCES membership (id)
)
;;
CREATE INDEX ix_api_token_organisation ON api_token (organisation)
