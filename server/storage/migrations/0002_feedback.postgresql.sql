CREATE INDEX ix_consultation_resting ON consultation (state, state_since, id) WHERE state IN ('acknowledged', 'feedback')
;;
CREATE TABLE feedback (
	id TEXT NOT NULL,
	consultation TEXT NOT NULL,
	side TEXT NOT NULL,
	by TEXT NOT NULL,
	at TIMESTAMP WITH TIME ZONE NOT NULL,
	day BIGINT,
	adoption TEXT,
	reason TEXT NOT NULL,
	plan_changed BOOLEAN,
	done TEXT NOT NULL,
	outcome TEXT,
	rating BIGINT,
	comment TEXT NOT NULL,
	final BOOLEAN NOT NULL,
	CONSTRAINT pk_feedback PRIMARY KEY (id),
	CONSTRAINT ck_feedback_rating CHECK (rating BETWEEN 1 AND 5),
	CONSTRAINT ck_feedback_side CHECK ("side" IN ('clinic', 'expert')),
	CONSTRAINT ck_feedback_adoption CHECK ("adoption" IN ('adopted', 'partly', 'not')),
	CONSTRAINT ck_feedback_outcome CHECK ("outcome" IN ('improved', 'unchanged', 'worse', 'referred', 'died', 'lost')),
	CONSTRAINT fk_feedback_consultation FOREIGN KEY(consultation) REFERENCES consultation (id),
	CONSTRAINT fk_feedback_by FOREIGN KEY(by) REFERENCES membership (id)
)
;;
CREATE INDEX ix_feedback_consultation ON feedback (consultation)
;;
CREATE UNIQUE INDEX ux_feedback_day ON feedback (consultation, day) WHERE side = 'clinic'
;;
CREATE UNIQUE INDEX ux_feedback_rating ON feedback (consultation, by) WHERE side = 'expert'
;;
CREATE TRIGGER feedback_insert_only BEFORE UPDATE OR DELETE ON feedback FOR EACH ROW EXECUTE FUNCTION refuse_change()
;;
CREATE TRIGGER feedback_no_truncate BEFORE TRUNCATE ON feedback FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
