CREATE TABLE forward_destination (
	id TEXT NOT NULL,
	organisation TEXT NOT NULL,
	name TEXT NOT NULL,
	device TEXT,
	url TEXT NOT NULL,
	token TEXT NOT NULL,
	ca TEXT NOT NULL,
	compression TEXT NOT NULL,
	created_at INTEGER NOT NULL,
	ended_at INTEGER,
	version INTEGER NOT NULL,
	failures INTEGER NOT NULL,
	next_at INTEGER NOT NULL,
	last_error TEXT NOT NULL,
	CONSTRAINT pk_forward_destination PRIMARY KEY (id),
	CONSTRAINT ck_forward_destination_one_way CHECK ((device IS NULL) <> (url = '')),
	CONSTRAINT ck_forward_destination_compression CHECK (compression IN ('', 'jpeg-ls', 'htj2k')),
	CONSTRAINT fk_forward_destination_organisation FOREIGN KEY(organisation) REFERENCES organisation (id),
	CONSTRAINT fk_forward_destination_device FOREIGN KEY(device) REFERENCES device (id)
)
;;
CREATE INDEX ix_forward_destination_organisation ON forward_destination (organisation)
;;
CREATE TABLE forward_item (
	id TEXT NOT NULL,
	destination TEXT NOT NULL,
	n INTEGER NOT NULL,
	study_uid TEXT NOT NULL,
	sop_uid TEXT NOT NULL,
	digest TEXT NOT NULL,
	state TEXT NOT NULL,
	attempts INTEGER NOT NULL,
	created_at INTEGER NOT NULL,
	next_at INTEGER NOT NULL,
	ended_at INTEGER,
	last_error TEXT NOT NULL,
	CONSTRAINT pk_forward_item PRIMARY KEY (id),
	CONSTRAINT uq_forward_item_destination_sop_uid_digest UNIQUE (destination, sop_uid, digest),
	CONSTRAINT ck_forward_item_state CHECK (state IN ('waiting', 'sent', 'dropped')),
	CONSTRAINT fk_forward_item_destination FOREIGN KEY(destination) REFERENCES forward_destination (id)
)
;;
CREATE INDEX ix_forward_item_waiting ON forward_item (destination, state, n)
;;
CREATE TABLE forward_rule (
	id TEXT NOT NULL,
	organisation TEXT NOT NULL,
	destination TEXT NOT NULL,
	modalities TEXT NOT NULL,
	source TEXT NOT NULL,
	description TEXT NOT NULL,
	earlier BOOLEAN NOT NULL,
	mark INTEGER NOT NULL,
	mark_name TEXT NOT NULL,
	created_at INTEGER NOT NULL,
	ended_at INTEGER,
	version INTEGER NOT NULL,
	CONSTRAINT pk_forward_rule PRIMARY KEY (id),
	CONSTRAINT fk_forward_rule_organisation FOREIGN KEY(organisation) REFERENCES organisation (id),
	CONSTRAINT fk_forward_rule_destination FOREIGN KEY(destination) REFERENCES forward_destination (id)
)
;;
CREATE INDEX ix_forward_rule_organisation ON forward_rule (organisation)
