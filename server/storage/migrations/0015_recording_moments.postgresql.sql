CREATE TABLE recording_moment (
	id TEXT NOT NULL,
	recording TEXT NOT NULL,
	n BIGINT NOT NULL,
	at TIMESTAMP WITH TIME ZONE NOT NULL,
	sealed TEXT NOT NULL,
	CONSTRAINT pk_recording_moment PRIMARY KEY (id),
	CONSTRAINT uq_recording_moment_recording_n UNIQUE (recording, n),
	CONSTRAINT fk_recording_moment_recording FOREIGN KEY(recording) REFERENCES recording (id)
)
