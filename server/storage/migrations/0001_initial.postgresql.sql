CREATE TABLE account (
	staff TEXT NOT NULL,
	password_hash TEXT NOT NULL,
	failed BIGINT NOT NULL,
	locked_until TIMESTAMP WITH TIME ZONE,
	must_change BOOLEAN NOT NULL,
	changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
	CONSTRAINT pk_account PRIMARY KEY (staff)
)
;;
CREATE TABLE audit (
	n BIGINT NOT NULL,
	at TIMESTAMP WITH TIME ZONE NOT NULL,
	membership TEXT,
	staff TEXT,
	organisation TEXT,
	action TEXT NOT NULL,
	object TEXT NOT NULL,
	outcome TEXT NOT NULL,
	request_id TEXT NOT NULL,
	detail JSON NOT NULL,
	hash TEXT NOT NULL,
	CONSTRAINT pk_audit PRIMARY KEY (n),
	CONSTRAINT ck_audit_outcome CHECK (outcome IN ('ok', 'denied'))
)
;;
CREATE INDEX ix_audit_object ON audit (object, n)
;;
CREATE INDEX ix_audit_organisation ON audit (organisation, n)
;;
CREATE INDEX ix_audit_staff ON audit (staff, n)
;;
CREATE TABLE counter (
	name TEXT NOT NULL,
	value BIGINT NOT NULL,
	CONSTRAINT pk_counter PRIMARY KEY (name)
)
;;
CREATE TABLE event (
	id TEXT NOT NULL,
	aggregate TEXT NOT NULL,
	n BIGINT NOT NULL,
	trigger TEXT NOT NULL,
	before TEXT NOT NULL,
	after TEXT NOT NULL,
	membership TEXT,
	staff TEXT,
	organisation TEXT,
	at TIMESTAMP WITH TIME ZONE NOT NULL,
	reason TEXT NOT NULL,
	payload JSON NOT NULL,
	CONSTRAINT pk_event PRIMARY KEY (id),
	CONSTRAINT uq_event_aggregate_n UNIQUE (aggregate, n)
)
;;
CREATE INDEX ix_event_at ON event (at, trigger)
;;
CREATE TABLE listing (
	scope TEXT NOT NULL,
	consultation TEXT NOT NULL,
	organisation TEXT NOT NULL,
	target_organisation TEXT,
	state TEXT NOT NULL,
	urgency_rank BIGINT NOT NULL,
	state_since TIMESTAMP WITH TIME ZONE NOT NULL,
	service TEXT NOT NULL,
	created_at TIMESTAMP WITH TIME ZONE NOT NULL,
	CONSTRAINT pk_listing PRIMARY KEY (scope, consultation),
	CONSTRAINT ck_listing_state CHECK ("state" IN ('draft', 'submitted', 'triage', 'returned', 'offered', 'accepted', 'scheduled', 'checked_in', 'in_session', 'async_review', 'awaiting_material', 'reporting', 'signed', 'delivered', 'acknowledged', 'feedback', 'archived', 'withdrawn', 'cancelled', 'rejected', 'no_show', 'expired', 'converted', 'entered_in_error')),
	CONSTRAINT ck_listing_service CHECK ("service" IN ('clinical', 'imaging', 'ecg', 'pathology', 'laboratory', 'chronic', 'prenatal', 'maternal'))
)
;;
CREATE INDEX ix_listing_consultation ON listing (consultation)
;;
CREATE INDEX ix_listing_page ON listing (scope, state, urgency_rank, state_since, consultation, service, created_at, organisation, target_organisation)
;;
CREATE TABLE org_link (
	a TEXT NOT NULL,
	b TEXT NOT NULL,
	kind TEXT NOT NULL,
	since DATE NOT NULL,
	until DATE,
	CONSTRAINT uq_org_link_a_b_kind_since UNIQUE (a, b, kind, since),
	CONSTRAINT ck_org_link_kind CHECK ("kind" IN ('parent', 'alliance', 'specialty'))
)
;;
CREATE INDEX ix_org_link_b ON org_link (b)
;;
CREATE TABLE organisation (
	id TEXT NOT NULL,
	name TEXT NOT NULL,
	short_name TEXT NOT NULL,
	tier TEXT NOT NULL,
	kind TEXT NOT NULL,
	district TEXT NOT NULL,
	phone TEXT NOT NULL,
	active BOOLEAN NOT NULL,
	version BIGINT NOT NULL,
	CONSTRAINT pk_organisation PRIMARY KEY (id),
	CONSTRAINT ck_organisation_tier CHECK ("tier" IN ('clinic', 'county', 'city')),
	CONSTRAINT ck_organisation_kind CHECK ("kind" IN ('community_centre', 'township_hospital', 'hospital', 'imaging_centre', 'ecg_centre', 'pathology_centre'))
)
;;
CREATE TABLE outbox (
	id TEXT NOT NULL,
	kind TEXT NOT NULL,
	target TEXT NOT NULL,
	payload JSON NOT NULL,
	state TEXT NOT NULL,
	attempts BIGINT NOT NULL,
	created_at TIMESTAMP WITH TIME ZONE NOT NULL,
	next_at TIMESTAMP WITH TIME ZONE NOT NULL,
	last_error TEXT NOT NULL,
	CONSTRAINT pk_outbox PRIMARY KEY (id),
	CONSTRAINT ck_outbox_state CHECK (state IN ('pending', 'sent', 'failed'))
)
;;
CREATE INDEX ix_outbox_next ON outbox (state, next_at)
;;
CREATE TABLE patient_organisation (
	organisation TEXT NOT NULL,
	patient TEXT NOT NULL,
	CONSTRAINT pk_patient_organisation PRIMARY KEY (organisation, patient)
)
;;
CREATE INDEX ix_patient_organisation_patient ON patient_organisation (patient)
;;
CREATE TABLE read_mark (
	consultation TEXT NOT NULL,
	membership TEXT NOT NULL,
	at TIMESTAMP WITH TIME ZONE NOT NULL,
	CONSTRAINT pk_read_mark PRIMARY KEY (consultation, membership)
)
;;
CREATE TABLE report_pdf (
	report_version TEXT NOT NULL,
	pdf BYTEA NOT NULL,
	CONSTRAINT pk_report_pdf PRIMARY KEY (report_version)
)
;;
CREATE TABLE setting (
	name TEXT NOT NULL,
	value JSON NOT NULL,
	CONSTRAINT pk_setting PRIMARY KEY (name)
)
;;
CREATE TABLE staff (
	id TEXT NOT NULL,
	login TEXT NOT NULL,
	name TEXT NOT NULL,
	title TEXT NOT NULL,
	licence TEXT NOT NULL,
	phone TEXT NOT NULL,
	active BOOLEAN NOT NULL,
	version BIGINT NOT NULL,
	CONSTRAINT pk_staff PRIMARY KEY (id),
	CONSTRAINT uq_staff_login UNIQUE (login)
)
;;
CREATE TABLE membership (
	id TEXT NOT NULL,
	staff TEXT NOT NULL,
	organisation TEXT NOT NULL,
	role TEXT NOT NULL,
	department TEXT NOT NULL,
	specialties JSON NOT NULL,
	on_call BOOLEAN NOT NULL,
	since TIMESTAMP WITH TIME ZONE,
	until TIMESTAMP WITH TIME ZONE,
	version BIGINT NOT NULL,
	CONSTRAINT pk_membership PRIMARY KEY (id),
	CONSTRAINT ck_membership_role CHECK ("role" IN ('clinic_doctor', 'expert', 'technician', 'dispatcher', 'org_admin', 'platform_admin', 'auditor')),
	CONSTRAINT fk_membership_staff FOREIGN KEY(staff) REFERENCES staff (id),
	CONSTRAINT fk_membership_organisation FOREIGN KEY(organisation) REFERENCES organisation (id)
)
;;
CREATE INDEX ix_membership_organisation ON membership (organisation)
;;
CREATE INDEX ix_membership_staff ON membership (staff)
;;
CREATE TABLE patient (
	id TEXT NOT NULL,
	name TEXT NOT NULL,
	sex TEXT NOT NULL,
	birth_date DATE,
	pinyin TEXT NOT NULL,
	phone TEXT NOT NULL,
	guardian TEXT NOT NULL,
	payer TEXT NOT NULL,
	allergies TEXT NOT NULL,
	unknown BOOLEAN NOT NULL,
	mother TEXT,
	registered_by TEXT NOT NULL,
	created_at TIMESTAMP WITH TIME ZONE NOT NULL,
	merged_into TEXT,
	version BIGINT NOT NULL,
	pinyin_key TEXT NOT NULL,
	CONSTRAINT pk_patient PRIMARY KEY (id),
	CONSTRAINT ck_patient_sex CHECK ("sex" IN ('M', 'F', 'O', 'U')),
	CONSTRAINT fk_patient_mother FOREIGN KEY(mother) REFERENCES patient (id),
	CONSTRAINT fk_patient_registered_by FOREIGN KEY(registered_by) REFERENCES organisation (id),
	CONSTRAINT fk_patient_merged_into FOREIGN KEY(merged_into) REFERENCES patient (id)
)
;;
CREATE INDEX ix_patient_merged_into ON patient (merged_into)
;;
CREATE INDEX ix_patient_mother ON patient (mother)
;;
CREATE TABLE consultation (
	id TEXT NOT NULL,
	number TEXT NOT NULL,
	patient TEXT NOT NULL,
	organisation TEXT NOT NULL,
	requested_by TEXT NOT NULL,
	service TEXT NOT NULL,
	mode TEXT NOT NULL,
	participation TEXT NOT NULL,
	addressing TEXT NOT NULL,
	urgency TEXT NOT NULL,
	target_organisation TEXT,
	target_specialty TEXT NOT NULL,
	target_membership TEXT,
	state TEXT NOT NULL,
	resume_to TEXT,
	state_since TIMESTAMP WITH TIME ZONE NOT NULL,
	created_at TIMESTAMP WITH TIME ZONE NOT NULL,
	submitted_at TIMESTAMP WITH TIME ZONE,
	due_at TIMESTAMP WITH TIME ZONE,
	scheduled_at TIMESTAMP WITH TIME ZONE,
	missing JSON NOT NULL,
	replaces TEXT,
	hidden_studies JSON NOT NULL,
	version BIGINT NOT NULL,
	CONSTRAINT pk_consultation PRIMARY KEY (id),
	CONSTRAINT uq_consultation_number UNIQUE (number),
	CONSTRAINT ck_consultation_service CHECK ("service" IN ('clinical', 'imaging', 'ecg', 'pathology', 'laboratory', 'chronic', 'prenatal', 'maternal')),
	CONSTRAINT ck_consultation_mode CHECK ("mode" IN ('live', 'stored')),
	CONSTRAINT ck_consultation_participation CHECK ("participation" IN ('single', 'joint', 'mdt')),
	CONSTRAINT ck_consultation_addressing CHECK ("addressing" IN ('expert', 'specialty', 'pool')),
	CONSTRAINT ck_consultation_urgency CHECK ("urgency" IN ('routine', 'urgent', 'stat')),
	CONSTRAINT ck_consultation_state CHECK ("state" IN ('draft', 'submitted', 'triage', 'returned', 'offered', 'accepted', 'scheduled', 'checked_in', 'in_session', 'async_review', 'awaiting_material', 'reporting', 'signed', 'delivered', 'acknowledged', 'feedback', 'archived', 'withdrawn', 'cancelled', 'rejected', 'no_show', 'expired', 'converted', 'entered_in_error')),
	CONSTRAINT ck_consultation_resume_to CHECK ("resume_to" IN ('draft', 'submitted', 'triage', 'returned', 'offered', 'accepted', 'scheduled', 'checked_in', 'in_session', 'async_review', 'awaiting_material', 'reporting', 'signed', 'delivered', 'acknowledged', 'feedback', 'archived', 'withdrawn', 'cancelled', 'rejected', 'no_show', 'expired', 'converted', 'entered_in_error')),
	CONSTRAINT fk_consultation_patient FOREIGN KEY(patient) REFERENCES patient (id),
	CONSTRAINT fk_consultation_organisation FOREIGN KEY(organisation) REFERENCES organisation (id),
	CONSTRAINT fk_consultation_requested_by FOREIGN KEY(requested_by) REFERENCES membership (id),
	CONSTRAINT fk_consultation_target_organisation FOREIGN KEY(target_organisation) REFERENCES organisation (id),
	CONSTRAINT fk_consultation_target_membership FOREIGN KEY(target_membership) REFERENCES membership (id),
	CONSTRAINT fk_consultation_replaces FOREIGN KEY(replaces) REFERENCES consultation (id)
)
;;
CREATE INDEX ix_consultation_due ON consultation (due_at, id) WHERE due_at IS NOT NULL
;;
CREATE INDEX ix_consultation_patient ON consultation (patient)
;;
CREATE INDEX ix_consultation_replaces ON consultation (replaces)
;;
CREATE TABLE login (
	digest TEXT NOT NULL,
	staff TEXT NOT NULL,
	membership TEXT,
	csrf TEXT NOT NULL,
	created_at TIMESTAMP WITH TIME ZONE NOT NULL,
	last_seen TIMESTAMP WITH TIME ZONE NOT NULL,
	expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
	revoked_at TIMESTAMP WITH TIME ZONE,
	sign_unlocked_until TIMESTAMP WITH TIME ZONE,
	CONSTRAINT pk_login PRIMARY KEY (digest),
	CONSTRAINT fk_login_staff FOREIGN KEY(staff) REFERENCES staff (id),
	CONSTRAINT fk_login_membership FOREIGN KEY(membership) REFERENCES membership (id)
)
;;
CREATE INDEX ix_login_expires ON login (expires_at)
;;
CREATE INDEX ix_login_membership ON login (membership)
;;
CREATE INDEX ix_login_staff ON login (staff)
;;
CREATE TABLE patient_identifier (
	patient TEXT NOT NULL,
	system TEXT NOT NULL,
	issuer TEXT NOT NULL,
	value TEXT NOT NULL,
	CONSTRAINT uq_patient_identifier_system_issuer_value UNIQUE (system, issuer, value),
	CONSTRAINT ck_patient_identifier_system CHECK ("system" IN ('resident_id', 'passport', 'other_document', 'card', 'local')),
	CONSTRAINT fk_patient_identifier_patient FOREIGN KEY(patient) REFERENCES patient (id)
)
;;
CREATE INDEX ix_patient_identifier_patient ON patient_identifier (patient)
;;
CREATE INDEX ix_patient_identifier_value ON patient_identifier (value)
;;
CREATE TABLE upload (
	id TEXT NOT NULL,
	organisation TEXT NOT NULL,
	membership TEXT NOT NULL,
	size BIGINT NOT NULL,
	received BIGINT NOT NULL,
	state TEXT NOT NULL,
	result JSON,
	created_at TIMESTAMP WITH TIME ZONE NOT NULL,
	touched_at TIMESTAMP WITH TIME ZONE NOT NULL,
	version BIGINT NOT NULL,
	CONSTRAINT pk_upload PRIMARY KEY (id),
	CONSTRAINT ck_upload_state CHECK (state IN ('open', 'complete', 'done', 'failed', 'cancelled')),
	CONSTRAINT ck_upload_received CHECK (received >= 0 AND received <= size),
	CONSTRAINT fk_upload_organisation FOREIGN KEY(organisation) REFERENCES organisation (id),
	CONSTRAINT fk_upload_membership FOREIGN KEY(membership) REFERENCES membership (id)
)
;;
CREATE INDEX ix_upload_membership ON upload (membership, state)
;;
CREATE INDEX ix_upload_touched ON upload (state, touched_at)
;;
CREATE TABLE document (
	id TEXT NOT NULL,
	consultation TEXT NOT NULL,
	kind TEXT NOT NULL,
	title TEXT NOT NULL,
	media_type TEXT NOT NULL,
	digest TEXT NOT NULL,
	size BIGINT NOT NULL,
	pages BIGINT NOT NULL,
	added_by TEXT NOT NULL,
	added_at TIMESTAMP WITH TIME ZONE NOT NULL,
	voided_at TIMESTAMP WITH TIME ZONE,
	voided_reason TEXT NOT NULL,
	CONSTRAINT pk_document PRIMARY KEY (id),
	CONSTRAINT fk_document_consultation FOREIGN KEY(consultation) REFERENCES consultation (id),
	CONSTRAINT fk_document_added_by FOREIGN KEY(added_by) REFERENCES membership (id)
)
;;
CREATE INDEX ix_document_consultation ON document (consultation)
;;
CREATE INDEX ix_document_digest ON document (digest)
;;
CREATE TABLE exam_order (
	id TEXT NOT NULL,
	issuer TEXT NOT NULL,
	accession TEXT NOT NULL,
	patient TEXT NOT NULL,
	ordering TEXT NOT NULL,
	performing TEXT NOT NULL,
	ordered_by TEXT NOT NULL,
	procedure TEXT NOT NULL,
	modality TEXT NOT NULL,
	consultation TEXT,
	at TIMESTAMP WITH TIME ZONE NOT NULL,
	voided_at TIMESTAMP WITH TIME ZONE,
	voided_reason TEXT NOT NULL,
	version BIGINT NOT NULL,
	CONSTRAINT pk_exam_order PRIMARY KEY (id),
	CONSTRAINT uq_exam_order_issuer_accession UNIQUE (issuer, accession),
	CONSTRAINT fk_exam_order_issuer FOREIGN KEY(issuer) REFERENCES organisation (id),
	CONSTRAINT fk_exam_order_patient FOREIGN KEY(patient) REFERENCES patient (id),
	CONSTRAINT fk_exam_order_ordering FOREIGN KEY(ordering) REFERENCES organisation (id),
	CONSTRAINT fk_exam_order_performing FOREIGN KEY(performing) REFERENCES organisation (id),
	CONSTRAINT fk_exam_order_ordered_by FOREIGN KEY(ordered_by) REFERENCES membership (id),
	CONSTRAINT fk_exam_order_consultation FOREIGN KEY(consultation) REFERENCES consultation (id)
)
;;
CREATE INDEX ix_exam_order_consultation ON exam_order (consultation)
;;
CREATE INDEX ix_exam_order_ordering ON exam_order (ordering)
;;
CREATE INDEX ix_exam_order_patient ON exam_order (patient)
;;
CREATE INDEX ix_exam_order_performing ON exam_order (performing)
;;
CREATE TABLE offer (
	id TEXT NOT NULL,
	consultation TEXT NOT NULL,
	organisation TEXT NOT NULL,
	membership TEXT,
	specialty TEXT NOT NULL,
	made_by TEXT,
	made_at TIMESTAMP WITH TIME ZONE NOT NULL,
	expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
	outcome TEXT NOT NULL,
	closed_by TEXT,
	closed_at TIMESTAMP WITH TIME ZONE,
	reason TEXT NOT NULL,
	version BIGINT NOT NULL,
	CONSTRAINT pk_offer PRIMARY KEY (id),
	CONSTRAINT ck_offer_closed CHECK ((outcome = 'open') = (closed_at IS NULL)),
	CONSTRAINT ck_offer_outcome CHECK ("outcome" IN ('open', 'accepted', 'declined', 'timed_out', 'cancelled')),
	CONSTRAINT fk_offer_consultation FOREIGN KEY(consultation) REFERENCES consultation (id),
	CONSTRAINT fk_offer_organisation FOREIGN KEY(organisation) REFERENCES organisation (id),
	CONSTRAINT fk_offer_membership FOREIGN KEY(membership) REFERENCES membership (id),
	CONSTRAINT fk_offer_made_by FOREIGN KEY(made_by) REFERENCES membership (id),
	CONSTRAINT fk_offer_closed_by FOREIGN KEY(closed_by) REFERENCES membership (id)
)
;;
CREATE INDEX ix_offer_consultation ON offer (consultation)
;;
CREATE INDEX ix_offer_open ON offer (expires_at) WHERE outcome = 'open'
;;
CREATE TABLE participant (
	consultation TEXT NOT NULL,
	membership TEXT NOT NULL,
	part TEXT NOT NULL,
	since TIMESTAMP WITH TIME ZONE NOT NULL,
	until TIMESTAMP WITH TIME ZONE,
	CONSTRAINT ck_participant_part CHECK ("part" IN ('referring', 'expert', 'reviewer', 'chair', 'guest')),
	CONSTRAINT fk_participant_consultation FOREIGN KEY(consultation) REFERENCES consultation (id),
	CONSTRAINT fk_participant_membership FOREIGN KEY(membership) REFERENCES membership (id)
)
;;
CREATE INDEX ix_participant_consultation ON participant (consultation)
;;
CREATE INDEX ix_participant_membership ON participant (membership)
;;
CREATE UNIQUE INDEX ux_participant_open ON participant (consultation, membership, part) WHERE until IS NULL
;;
CREATE TABLE question (
	consultation TEXT NOT NULL,
	n BIGINT NOT NULL,
	text TEXT NOT NULL,
	CONSTRAINT uq_question_consultation_n UNIQUE (consultation, n),
	CONSTRAINT fk_question_consultation FOREIGN KEY(consultation) REFERENCES consultation (id)
)
;;
CREATE TABLE report (
	id TEXT NOT NULL,
	consultation TEXT NOT NULL,
	part TEXT NOT NULL,
	author TEXT NOT NULL,
	content JSON NOT NULL,
	saved_at TIMESTAMP WITH TIME ZONE NOT NULL,
	version BIGINT NOT NULL,
	CONSTRAINT pk_report PRIMARY KEY (id),
	CONSTRAINT uq_report_consultation_part_author UNIQUE (consultation, part, author),
	CONSTRAINT ck_report_part CHECK ("part" IN ('referring', 'expert', 'reviewer', 'chair', 'guest')),
	CONSTRAINT fk_report_consultation FOREIGN KEY(consultation) REFERENCES consultation (id),
	CONSTRAINT fk_report_author FOREIGN KEY(author) REFERENCES membership (id)
)
;;
CREATE TABLE request_version (
	consultation TEXT NOT NULL,
	n BIGINT NOT NULL,
	content JSON NOT NULL,
	saved_by TEXT NOT NULL,
	saved_at TIMESTAMP WITH TIME ZONE NOT NULL,
	purpose TEXT NOT NULL,
	CONSTRAINT uq_request_version_consultation_n UNIQUE (consultation, n),
	CONSTRAINT fk_request_version_consultation FOREIGN KEY(consultation) REFERENCES consultation (id),
	CONSTRAINT fk_request_version_saved_by FOREIGN KEY(saved_by) REFERENCES membership (id)
)
;;
CREATE TABLE session (
	id TEXT NOT NULL,
	consultation TEXT NOT NULL,
	n BIGINT NOT NULL,
	kind TEXT NOT NULL,
	opened_by TEXT NOT NULL,
	opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
	ended_by TEXT,
	ended_at TIMESTAMP WITH TIME ZONE,
	locked BOOLEAN NOT NULL,
	version BIGINT NOT NULL,
	CONSTRAINT pk_session PRIMARY KEY (id),
	CONSTRAINT uq_session_consultation_n UNIQUE (consultation, n),
	CONSTRAINT fk_session_consultation FOREIGN KEY(consultation) REFERENCES consultation (id),
	CONSTRAINT fk_session_opened_by FOREIGN KEY(opened_by) REFERENCES membership (id),
	CONSTRAINT fk_session_ended_by FOREIGN KEY(ended_by) REFERENCES membership (id)
)
;;
CREATE UNIQUE INDEX ux_session_running ON session (consultation) WHERE ended_at IS NULL
;;
CREATE TABLE study_grant (
	digest TEXT NOT NULL,
	membership TEXT NOT NULL,
	study_uid TEXT NOT NULL,
	consultation TEXT,
	created_at TIMESTAMP WITH TIME ZONE NOT NULL,
	expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
	revoked_at TIMESTAMP WITH TIME ZONE,
	frames BIGINT NOT NULL,
	login TEXT,
	CONSTRAINT pk_study_grant PRIMARY KEY (digest),
	CONSTRAINT fk_study_grant_membership FOREIGN KEY(membership) REFERENCES membership (id),
	CONSTRAINT fk_study_grant_consultation FOREIGN KEY(consultation) REFERENCES consultation (id)
)
;;
CREATE INDEX ix_study_grant_expires ON study_grant (expires_at)
;;
CREATE INDEX ix_study_grant_login ON study_grant (login)
;;
CREATE INDEX ix_study_grant_membership ON study_grant (membership, consultation)
;;
CREATE TABLE study_share (
	consultation TEXT NOT NULL,
	study_uid TEXT NOT NULL,
	by TEXT,
	since TIMESTAMP WITH TIME ZONE NOT NULL,
	until TIMESTAMP WITH TIME ZONE,
	CONSTRAINT fk_study_share_consultation FOREIGN KEY(consultation) REFERENCES consultation (id),
	CONSTRAINT fk_study_share_by FOREIGN KEY(by) REFERENCES membership (id)
)
;;
CREATE INDEX ix_study_share_consultation ON study_share (consultation, until)
;;
CREATE INDEX ix_study_share_study ON study_share (study_uid, until)
;;
CREATE UNIQUE INDEX ux_study_share_open ON study_share (consultation, study_uid) WHERE until IS NULL
;;
CREATE TABLE consent (
	id TEXT NOT NULL,
	consultation TEXT NOT NULL,
	text_version TEXT NOT NULL,
	signer TEXT NOT NULL,
	relation TEXT NOT NULL,
	mode TEXT NOT NULL,
	scopes JSON NOT NULL,
	witnesses JSON NOT NULL,
	document TEXT,
	given_at TIMESTAMP WITH TIME ZONE NOT NULL,
	recorded_by TEXT NOT NULL,
	withdrawn_at TIMESTAMP WITH TIME ZONE,
	withdrawn_reason TEXT NOT NULL,
	CONSTRAINT pk_consent PRIMARY KEY (id),
	CONSTRAINT ck_consent_mode CHECK ("mode" IN ('signature', 'scan', 'witnesses')),
	CONSTRAINT fk_consent_consultation FOREIGN KEY(consultation) REFERENCES consultation (id),
	CONSTRAINT fk_consent_document FOREIGN KEY(document) REFERENCES document (id),
	CONSTRAINT fk_consent_recorded_by FOREIGN KEY(recorded_by) REFERENCES membership (id)
)
;;
CREATE INDEX ix_consent_consultation ON consent (consultation)
;;
CREATE TABLE message (
	id TEXT NOT NULL,
	consultation TEXT NOT NULL,
	session TEXT,
	membership TEXT NOT NULL,
	client_id TEXT NOT NULL,
	text TEXT NOT NULL,
	at TIMESTAMP WITH TIME ZONE NOT NULL,
	CONSTRAINT pk_message PRIMARY KEY (id),
	CONSTRAINT uq_message_consultation_membership_client_id UNIQUE (consultation, membership, client_id),
	CONSTRAINT fk_message_consultation FOREIGN KEY(consultation) REFERENCES consultation (id),
	CONSTRAINT fk_message_session FOREIGN KEY(session) REFERENCES session (id),
	CONSTRAINT fk_message_membership FOREIGN KEY(membership) REFERENCES membership (id)
)
;;
CREATE INDEX ix_message_at ON message (consultation, at)
;;
CREATE TABLE report_version (
	id TEXT NOT NULL,
	report TEXT NOT NULL,
	consultation TEXT NOT NULL,
	n BIGINT NOT NULL,
	status TEXT NOT NULL,
	content JSON NOT NULL,
	content_digest TEXT NOT NULL,
	pdf_digest TEXT NOT NULL,
	code TEXT NOT NULL,
	reason TEXT NOT NULL,
	replaces TEXT,
	signed_at TIMESTAMP WITH TIME ZONE NOT NULL,
	CONSTRAINT pk_report_version PRIMARY KEY (id),
	CONSTRAINT uq_report_version_report_n UNIQUE (report, n),
	CONSTRAINT uq_report_version_code UNIQUE (code),
	CONSTRAINT ck_report_version_status CHECK ("status" IN ('final', 'amended', 'appended')),
	CONSTRAINT fk_report_version_report FOREIGN KEY(report) REFERENCES report (id),
	CONSTRAINT fk_report_version_consultation FOREIGN KEY(consultation) REFERENCES consultation (id),
	CONSTRAINT fk_report_version_replaces FOREIGN KEY(replaces) REFERENCES report_version (id)
)
;;
CREATE INDEX ix_report_version_consultation ON report_version (consultation)
;;
CREATE TABLE seat (
	id TEXT NOT NULL,
	session TEXT NOT NULL,
	membership TEXT NOT NULL,
	part TEXT NOT NULL,
	state TEXT NOT NULL,
	since TIMESTAMP WITH TIME ZONE NOT NULL,
	precheck JSON,
	version BIGINT NOT NULL,
	CONSTRAINT pk_seat PRIMARY KEY (id),
	CONSTRAINT uq_seat_session_membership UNIQUE (session, membership),
	CONSTRAINT ck_seat_part CHECK ("part" IN ('referring', 'expert', 'reviewer', 'chair', 'guest')),
	CONSTRAINT ck_seat_state CHECK ("state" IN ('lobby', 'in', 'lost', 'left', 'removed')),
	CONSTRAINT fk_seat_session FOREIGN KEY(session) REFERENCES session (id),
	CONSTRAINT fk_seat_membership FOREIGN KEY(membership) REFERENCES membership (id)
)
;;
CREATE INDEX ix_seat_membership ON seat (membership)
;;
CREATE TABLE study_match (
	id TEXT NOT NULL,
	study_uid TEXT NOT NULL,
	organisation TEXT NOT NULL,
	patient TEXT NOT NULL,
	"order" TEXT,
	method TEXT NOT NULL,
	by TEXT,
	at TIMESTAMP WITH TIME ZONE NOT NULL,
	voided_at TIMESTAMP WITH TIME ZONE,
	voided_by TEXT,
	voided_reason TEXT NOT NULL,
	CONSTRAINT pk_study_match PRIMARY KEY (id),
	CONSTRAINT ck_study_match_method CHECK ("method" IN ('accession', 'patient_id', 'manual')),
	CONSTRAINT fk_study_match_organisation FOREIGN KEY(organisation) REFERENCES organisation (id),
	CONSTRAINT fk_study_match_patient FOREIGN KEY(patient) REFERENCES patient (id),
	CONSTRAINT fk_study_match_order FOREIGN KEY("order") REFERENCES exam_order (id),
	CONSTRAINT fk_study_match_by FOREIGN KEY(by) REFERENCES membership (id),
	CONSTRAINT fk_study_match_voided_by FOREIGN KEY(voided_by) REFERENCES membership (id)
)
;;
CREATE INDEX ix_study_match_order ON study_match ("order")
;;
CREATE INDEX ix_study_match_organisation ON study_match (organisation, at)
;;
CREATE INDEX ix_study_match_patient ON study_match (patient)
;;
CREATE UNIQUE INDEX ux_study_match_in_force ON study_match (study_uid, organisation) WHERE voided_at IS NULL
;;
CREATE TABLE attendance (
	seat TEXT NOT NULL,
	entered_at TIMESTAMP WITH TIME ZONE NOT NULL,
	left_at TIMESTAMP WITH TIME ZONE,
	reason TEXT NOT NULL,
	CONSTRAINT fk_attendance_seat FOREIGN KEY(seat) REFERENCES seat (id)
)
;;
CREATE INDEX ix_attendance_seat ON attendance (seat)
;;
CREATE UNIQUE INDEX ux_attendance_open ON attendance (seat) WHERE left_at IS NULL
;;
CREATE TABLE filing (
	id TEXT NOT NULL,
	report_version TEXT NOT NULL,
	consultation TEXT NOT NULL,
	organisation TEXT NOT NULL,
	channel TEXT NOT NULL,
	state TEXT NOT NULL,
	filed_at TIMESTAMP WITH TIME ZONE,
	read_by TEXT,
	read_at TIMESTAMP WITH TIME ZONE,
	acknowledged_by TEXT,
	acknowledged_at TIMESTAMP WITH TIME ZONE,
	attempts BIGINT NOT NULL,
	version BIGINT NOT NULL,
	CONSTRAINT pk_filing PRIMARY KEY (id),
	CONSTRAINT uq_filing_report_version_organisation_channel UNIQUE (report_version, organisation, channel),
	CONSTRAINT ck_filing_state CHECK (state IN ('pending', 'filed', 'acknowledged', 'failed')),
	CONSTRAINT fk_filing_report_version FOREIGN KEY(report_version) REFERENCES report_version (id),
	CONSTRAINT fk_filing_consultation FOREIGN KEY(consultation) REFERENCES consultation (id),
	CONSTRAINT fk_filing_organisation FOREIGN KEY(organisation) REFERENCES organisation (id),
	CONSTRAINT fk_filing_read_by FOREIGN KEY(read_by) REFERENCES membership (id),
	CONSTRAINT fk_filing_acknowledged_by FOREIGN KEY(acknowledged_by) REFERENCES membership (id)
)
;;
CREATE INDEX ix_filing_consultation ON filing (consultation)
;;
CREATE INDEX ix_filing_inbox ON filing (organisation, channel, acknowledged_at, filed_at)
;;
CREATE INDEX ix_filing_pending ON filing (channel, state)
;;
CREATE TABLE signature (
	report_version TEXT NOT NULL,
	staff TEXT NOT NULL,
	membership TEXT NOT NULL,
	part TEXT NOT NULL,
	certificate TEXT NOT NULL,
	at TIMESTAMP WITH TIME ZONE NOT NULL,
	CONSTRAINT uq_signature_report_version_staff_part UNIQUE (report_version, staff, part),
	CONSTRAINT ck_signature_part CHECK ("part" IN ('referring', 'expert', 'reviewer', 'chair', 'guest')),
	CONSTRAINT fk_signature_report_version FOREIGN KEY(report_version) REFERENCES report_version (id),
	CONSTRAINT fk_signature_staff FOREIGN KEY(staff) REFERENCES staff (id),
	CONSTRAINT fk_signature_membership FOREIGN KEY(membership) REFERENCES membership (id)
)
;;
CREATE INDEX ix_signature_staff ON signature (staff)
;;
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is insert-only', TG_TABLE_NAME USING ERRCODE = '23001';
END $$
;;
CREATE TRIGGER report_version_insert_only BEFORE UPDATE OR DELETE ON report_version FOR EACH ROW EXECUTE FUNCTION refuse_change()
;;
CREATE TRIGGER report_version_no_truncate BEFORE TRUNCATE ON report_version FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
;;
CREATE TRIGGER report_pdf_insert_only BEFORE UPDATE OR DELETE ON report_pdf FOR EACH ROW EXECUTE FUNCTION refuse_change()
;;
CREATE TRIGGER report_pdf_no_truncate BEFORE TRUNCATE ON report_pdf FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
;;
CREATE TRIGGER signature_insert_only BEFORE UPDATE OR DELETE ON signature FOR EACH ROW EXECUTE FUNCTION refuse_change()
;;
CREATE TRIGGER signature_no_truncate BEFORE TRUNCATE ON signature FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
;;
CREATE TRIGGER event_insert_only BEFORE UPDATE OR DELETE ON event FOR EACH ROW EXECUTE FUNCTION refuse_change()
;;
CREATE TRIGGER event_no_truncate BEFORE TRUNCATE ON event FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
;;
CREATE TRIGGER audit_insert_only BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION refuse_change()
;;
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
