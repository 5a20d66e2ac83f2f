ALTER TABLE participant ADD COLUMN invited_by TEXT
;;
ALTER TABLE participant ADD COLUMN expires_at TIMESTAMP WITH TIME ZONE
;;
CREATE INDEX ix_participant_invited ON participant (expires_at) WHERE until IS NULL AND expires_at IS NOT NULL
;;
ALTER TABLE session ADD COLUMN chair TEXT
;;
ALTER TABLE session ADD COLUMN wait_text TEXT DEFAULT '' NOT NULL
;;
ALTER TABLE session ADD COLUMN wait_until TIMESTAMP WITH TIME ZONE
