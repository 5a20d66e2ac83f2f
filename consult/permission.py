"""Who may see and do what, as data: the table of DOMAIN §6. consult/access.py is the only reader.

Break-glass cells (BG) are denied here: they open through a door of their own, which does not exist yet.
"""

from collections.abc import Mapping
from enum import StrEnum

from consult.people import Role


class Relation(StrEnum):
    """What one membership is to one object. Several may hold at once (a technician invited as a guest)."""

    REFERRING = "R"
    COLLEAGUE = "C"          # clinic doctor of the requesting organisation who does not take part
    ASSIGNED = "E"           # expert, reviewer or chair, until some days after the consultation closed
    CENTRE = "U"             # expert of an organisation that serves it, not assigned
    DISPATCHER = "D"
    TECHNICIAN = "T"         # of the organisation that orders, performs or holds
    ORG_ADMIN = "OA"
    PLATFORM_ADMIN = "PA"
    AUDITOR = "AU"
    GUEST = "G"              # invited by name


class Condition(StrEnum):
    ALWAYS = "always"
    IN_TRIAGE = "in_triage"
    OFFERED_TO = "offered_to"    # an open offer names them, or the pool they are on call for
    INVITED = "invited"          # the consultation to which the guest was invited is not closed
    ADMITTED = "admitted"        # the guest sits in the running session
    HISTORY = "history"          # an admitted guest who is not a technician
    CHAIR = "chair"              # the chair, or the expert where there is none
    RELEASED = "released"        # the expert has released the draft


class Action(StrEnum):
    PATIENT_FIND = "patient.find"            # the row in a search: enough to recognise and to begin
    PATIENT_READ = "patient.read"
    PATIENT_WRITE = "patient.write"
    PATIENT_MERGE = "patient.merge"
    STUDIES_LIST = "studies.list"
    STUDIES_SHARE = "studies.share"
    STUDIES_DOUBT = "studies.doubt"          # "wrong patient"
    PIXELS_READ = "pixels.read"
    DICOM_DOWNLOAD = "dicom.download"
    REQUEST_STATUS = "request.status"        # the envelope: number, state, times, organisations
    REQUEST_QUEUE = "request.queue"          # the envelope, age band, sex, specialty, urgency
    REQUEST_READ = "request.read"
    REQUEST_WRITE = "request.write"
    REQUEST_WITHDRAW = "request.withdraw"
    REQUEST_TAKE_OVER = "request.take_over"
    REQUEST_RECEIVE = "request.receive"
    REQUEST_RETURN = "request.return"
    REQUEST_REJECT = "request.reject"
    REQUEST_OFFER = "request.offer"
    REQUEST_REASSIGN = "request.reassign"
    REQUEST_ACCEPT = "request.accept"        # accept, claim or decline an offer
    REQUEST_RELEASE = "request.release"
    REQUEST_SCHEDULE = "request.schedule"
    REQUEST_REVIEW = "request.review"        # read without video, ask for more
    REQUEST_CANCEL = "request.cancel"
    REQUEST_CONVERT = "request.convert"
    REQUEST_VOID = "request.void"            # entered in error
    DOCUMENT_READ = "document.read"
    DOCUMENT_WRITE = "document.write"
    MATERIAL_PROVIDE = "material.provide"
    ORDER_READ = "order.read"
    ORDER_WRITE = "order.write"
    ROOM_ENTER = "room.enter"
    ROOM_INVITE = "room.invite"
    ROOM_REMOVE = "room.remove"              # admit, remove, lock
    ROOM_CHAT = "room.chat"
    ROOM_HISTORY = "room.history"
    ROOM_FINISH = "room.finish"
    RECORDING_ASK = "recording.ask"          # ask for it, end it
    RECORDING_READ = "recording.read"
    RECORDING_HOLD = "recording.hold"        # a legal hold; sees the envelope alone
    DRAFT_READ = "draft.read"
    DRAFT_WRITE = "draft.write"
    REPORT_STATUS = "report.status"
    REPORT_READ = "report.read"
    REPORT_SIGN = "report.sign"
    REPORT_APPEND = "report.append"          # append or amend
    REPORT_ACKNOWLEDGE = "report.acknowledge"
    REPORT_VERIFY = "report.verify"
    FEEDBACK_READ = "feedback.read"
    FEEDBACK_GIVE = "feedback.give"          # the clinic: what became of it
    FEEDBACK_RATE = "feedback.rate"          # an expert: how well it was asked
    AUDIT_READ = "audit.read"                # everyone's rows about one consultation; own rows need no action
    # on an organisation
    PATIENT_REGISTER = "patient.register"
    REQUEST_START = "request.start"
    ORDER_START = "order.start"
    STUDIES_UPLOAD = "studies.upload"
    STUDIES_MATCH = "studies.match"          # matching, unmatched studies, quarantine
    REMOVALS_DECIDE = "removals.decide"      # the second person of a removal; sees counts and dates alone
    INBOX_READ = "inbox.read"
    PEOPLE_READ = "people.read"
    PEOPLE_MANAGE = "people.manage"
    DEVICES_MANAGE = "devices.manage"
    ORGANISATIONS_MANAGE = "organisations.manage"


_A, _R, _C = Action, Relation, Condition
_OK = Condition.ALWAYS


def _always(*relations: Relation) -> dict[Relation, Condition]:
    return dict.fromkeys(relations, Condition.ALWAYS)


_READERS: Mapping[Relation, Condition] = {
    _R.REFERRING: _OK,
    _R.ASSIGNED: _OK,
    _R.DISPATCHER: _C.IN_TRIAGE,
    _R.GUEST: _C.ADMITTED,
}

# On a consultation and its parts.
POLICY: Mapping[Action, Mapping[Relation, Condition]] = {
    _A.PATIENT_FIND: _always(_R.REFERRING, _R.COLLEAGUE, _R.TECHNICIAN),
    _A.PATIENT_READ: {**_READERS, _R.TECHNICIAN: _OK},
    _A.PATIENT_WRITE: _always(_R.REFERRING, _R.TECHNICIAN),
    _A.PATIENT_MERGE: _always(_R.REFERRING, _R.COLLEAGUE, _R.TECHNICIAN),
    _A.STUDIES_LIST: {**_READERS, _R.TECHNICIAN: _OK},
    _A.STUDIES_SHARE: _always(_R.REFERRING, _R.TECHNICIAN),
    _A.STUDIES_DOUBT: _always(_R.ASSIGNED),
    _A.PIXELS_READ: {
        _R.REFERRING: _OK, _R.ASSIGNED: _OK, _R.TECHNICIAN: _OK, _R.GUEST: _C.ADMITTED,
    },
    _A.DICOM_DOWNLOAD: _always(_R.REFERRING, _R.ASSIGNED, _R.TECHNICIAN),
    _A.REQUEST_STATUS: {
        **_always(
            _R.REFERRING, _R.COLLEAGUE, _R.ASSIGNED, _R.CENTRE, _R.DISPATCHER, _R.TECHNICIAN, _R.AUDITOR
        ),
        _R.GUEST: _C.ADMITTED,
    },
    _A.REQUEST_QUEUE: {
        **_always(_R.REFERRING, _R.COLLEAGUE, _R.ASSIGNED, _R.CENTRE, _R.DISPATCHER, _R.TECHNICIAN),
        _R.GUEST: _C.ADMITTED,
    },
    _A.REQUEST_READ: _READERS,
    _A.REQUEST_WRITE: _always(_R.REFERRING),
    _A.REQUEST_WITHDRAW: _always(_R.REFERRING),
    _A.REQUEST_TAKE_OVER: _always(_R.COLLEAGUE),
    _A.REQUEST_RECEIVE: _always(_R.DISPATCHER),
    _A.REQUEST_RETURN: _always(_R.ASSIGNED, _R.DISPATCHER),
    _A.REQUEST_REJECT: _always(_R.DISPATCHER),
    _A.REQUEST_OFFER: _always(_R.DISPATCHER),
    _A.REQUEST_REASSIGN: _always(_R.DISPATCHER),
    _A.REQUEST_ACCEPT: {_R.ASSIGNED: _OK, _R.CENTRE: _C.OFFERED_TO},
    _A.REQUEST_RELEASE: _always(_R.ASSIGNED),
    _A.REQUEST_SCHEDULE: _always(_R.REFERRING, _R.ASSIGNED),
    _A.REQUEST_REVIEW: _always(_R.ASSIGNED),
    _A.REQUEST_CANCEL: _always(_R.REFERRING, _R.ASSIGNED),
    _A.REQUEST_CONVERT: _always(_R.REFERRING, _R.ASSIGNED, _R.DISPATCHER),
    _A.REQUEST_VOID: _always(_R.ORG_ADMIN),
    _A.DOCUMENT_READ: _READERS,
    _A.DOCUMENT_WRITE: _always(_R.REFERRING, _R.TECHNICIAN),
    _A.MATERIAL_PROVIDE: _always(_R.REFERRING, _R.TECHNICIAN),
    _A.ORDER_READ: _always(_R.REFERRING, _R.ASSIGNED, _R.TECHNICIAN),
    _A.ORDER_WRITE: _always(_R.REFERRING, _R.TECHNICIAN),
    _A.ROOM_ENTER: {**_always(_R.REFERRING, _R.ASSIGNED), _R.GUEST: _C.INVITED},
    _A.ROOM_INVITE: _always(_R.REFERRING, _R.ASSIGNED),
    _A.ROOM_REMOVE: {_R.ASSIGNED: _C.CHAIR},
    _A.ROOM_CHAT: {**_always(_R.REFERRING, _R.ASSIGNED), _R.GUEST: _C.ADMITTED},
    _A.ROOM_HISTORY: {**_always(_R.REFERRING, _R.ASSIGNED), _R.GUEST: _C.HISTORY},
    _A.ROOM_FINISH: _always(_R.REFERRING, _R.ASSIGNED),
    _A.RECORDING_ASK: _always(_R.REFERRING, _R.ASSIGNED),
    _A.RECORDING_READ: _always(_R.REFERRING, _R.ASSIGNED),
    _A.RECORDING_HOLD: _always(_R.ORG_ADMIN, _R.AUDITOR),
    _A.DRAFT_READ: {_R.REFERRING: _C.RELEASED, _R.ASSIGNED: _OK},
    _A.DRAFT_WRITE: _always(_R.ASSIGNED),
    _A.REPORT_STATUS: _always(_R.REFERRING, _R.ASSIGNED, _R.DISPATCHER, _R.TECHNICIAN),
    _A.REPORT_READ: _always(_R.REFERRING, _R.ASSIGNED),
    _A.REPORT_SIGN: _always(_R.ASSIGNED),
    _A.REPORT_APPEND: _always(_R.ASSIGNED),
    _A.REPORT_ACKNOWLEDGE: _always(_R.REFERRING),
    _A.REPORT_VERIFY: _always(_R.REFERRING, _R.ASSIGNED, _R.AUDITOR),
    _A.FEEDBACK_READ: _always(_R.REFERRING, _R.ASSIGNED),
    _A.FEEDBACK_GIVE: _always(_R.REFERRING),
    _A.FEEDBACK_RATE: _always(_R.ASSIGNED),
    _A.AUDIT_READ: _always(_R.REFERRING, _R.AUDITOR),
}

# On an organisation: the roles that may, in their own one; and those that may everywhere.
OWN_ORGANISATION: Mapping[Action, frozenset[Role]] = {
    _A.PATIENT_REGISTER: frozenset({Role.CLINIC_DOCTOR, Role.TECHNICIAN}),
    _A.REQUEST_START: frozenset({Role.CLINIC_DOCTOR}),
    _A.ORDER_START: frozenset({Role.CLINIC_DOCTOR, Role.TECHNICIAN}),
    _A.STUDIES_UPLOAD: frozenset({Role.TECHNICIAN}),
    _A.STUDIES_MATCH: frozenset({Role.TECHNICIAN}),
    _A.REMOVALS_DECIDE: frozenset({Role.TECHNICIAN, Role.ORG_ADMIN}),
    _A.INBOX_READ: frozenset({Role.CLINIC_DOCTOR}),
    _A.PEOPLE_READ: frozenset({Role.ORG_ADMIN}),
    _A.PEOPLE_MANAGE: frozenset({Role.ORG_ADMIN}),
    _A.DEVICES_MANAGE: frozenset({Role.ORG_ADMIN}),
}
EVERY_ORGANISATION: Mapping[Action, frozenset[Role]] = {
    _A.PEOPLE_READ: frozenset({Role.AUDITOR, Role.PLATFORM_ADMIN}),
    _A.ORGANISATIONS_MANAGE: frozenset({Role.PLATFORM_ADMIN}),
}

# What makes the object of an action visible at all: refused within sight is NotAllowed, out of sight NotFound.
# Reading is never "not allowed": what one may not read does not exist for one.
SIGHT: Mapping[str, tuple[Action, ...]] = {
    "patient": (_A.PATIENT_READ, _A.PATIENT_FIND),
    "studies": (_A.STUDIES_LIST,),
    "request": (_A.REQUEST_READ, _A.REQUEST_QUEUE, _A.REQUEST_STATUS),
    "document": (_A.DOCUMENT_READ,),
    "material": (_A.REQUEST_READ, _A.REQUEST_QUEUE, _A.REQUEST_STATUS),
    "order": (_A.ORDER_READ,),
    "room": (_A.ROOM_ENTER,),
    "recording": (_A.ROOM_ENTER,),
    "draft": (_A.DRAFT_READ,),
    "report": (_A.REPORT_READ, _A.REPORT_STATUS, _A.REPORT_VERIFY),
    "feedback": (_A.FEEDBACK_READ,),
}
READS: frozenset[Action] = frozenset(
    {
        _A.PATIENT_FIND, _A.PATIENT_READ, _A.STUDIES_LIST, _A.PIXELS_READ, _A.DICOM_DOWNLOAD,
        _A.REQUEST_STATUS, _A.REQUEST_QUEUE, _A.REQUEST_READ, _A.DOCUMENT_READ, _A.ORDER_READ,
        _A.ROOM_ENTER, _A.ROOM_HISTORY, _A.RECORDING_READ, _A.DRAFT_READ, _A.REPORT_STATUS, _A.REPORT_READ,
        _A.REPORT_VERIFY, _A.FEEDBACK_READ, _A.AUDIT_READ, _A.INBOX_READ, _A.PEOPLE_READ,
    }
)  # fmt: skip
