ALTER TABLE forward_item ADD COLUMN named_by TEXT DEFAULT '' NOT NULL
;;
CREATE INDEX ix_forward_item_study ON forward_item (destination, study_uid)
