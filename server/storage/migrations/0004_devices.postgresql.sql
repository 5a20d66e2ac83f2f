CREATE TABLE device (
	id TEXT NOT NULL,
	organisation TEXT NOT NULL,
	name TEXT NOT NULL,
	called TEXT NOT NULL,
	calling TEXT NOT NULL,
	address TEXT NOT NULL,
	certificate TEXT NOT NULL,
	host TEXT NOT NULL,
	port BIGINT NOT NULL,
	tls BOOLEAN NOT NULL,
	coding TEXT NOT NULL,
	conflict_status BIGINT NOT NULL,
	modalities JSON NOT NULL,
	created_at TIMESTAMP WITH TIME ZONE NOT NULL,
	ended_at TIMESTAMP WITH TIME ZONE,
	version BIGINT NOT NULL,
	CONSTRAINT pk_device PRIMARY KEY (id),
	CONSTRAINT ck_device_port CHECK (port BETWEEN 0 AND 65535),
	CONSTRAINT ck_device_coding CHECK (coding IN ('utf-8', 'gb18030', 'gbk', 'iso58', 'pinyin')),
	CONSTRAINT ck_device_proof CHECK (address <> '' OR certificate <> ''),
	CONSTRAINT fk_device_organisation FOREIGN KEY(organisation) REFERENCES organisation (id)
)
;;
CREATE INDEX ix_device_organisation ON device (organisation)
;;
CREATE UNIQUE INDEX ux_device_in_force ON device (called, calling, address, certificate) WHERE ended_at IS NULL
;;
CREATE TABLE performed_step (
	id TEXT NOT NULL,
	device TEXT NOT NULL,
	organisation TEXT NOT NULL,
	status TEXT NOT NULL,
	accession TEXT NOT NULL,
	study_uid TEXT NOT NULL,
	series BIGINT NOT NULL,
	instances BIGINT NOT NULL,
	created_at TIMESTAMP WITH TIME ZONE NOT NULL,
	changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
	CONSTRAINT pk_performed_step PRIMARY KEY (id),
	CONSTRAINT ck_performed_step_status CHECK (status IN ('IN PROGRESS', 'COMPLETED', 'DISCONTINUED')),
	CONSTRAINT fk_performed_step_device FOREIGN KEY(device) REFERENCES device (id),
	CONSTRAINT fk_performed_step_organisation FOREIGN KEY(organisation) REFERENCES organisation (id)
)
;;
CREATE INDEX ix_performed_step_accession ON performed_step (organisation, accession)
