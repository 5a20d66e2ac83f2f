"""Every DICOMweb URL: method, path, handler, and the action its permission is asked for (see `ports.SCOPE_FOR`)."""

from __future__ import annotations

from server.dicomweb.answers import PREFIX, Handler
from server.dicomweb.capabilities import describe, retrieve_capabilities
from server.dicomweb.picturing import retrieve_rendered, retrieve_thumbnail, retrieve_waveform
from server.dicomweb.retrieving import retrieve, retrieve_bulkdata, retrieve_frames, retrieve_metadata
from server.dicomweb.searching import search_instances, search_series, search_studies
from server.dicomweb.storing import store_instances
from server.dicomweb.uri import PATH as URI_PATH
from server.dicomweb.uri import retrieve_by_uri

_STUDY = f"{PREFIX}/studies/{{study}}"
_SERIES = f"{_STUDY}/series/{{series}}"
_INSTANCE = f"{_SERIES}/instances/{{instance}}"

ROUTES: list[tuple[str, str, Handler, str]] = [
    ("POST", f"{PREFIX}/studies", store_instances, "store"),
    ("POST", _STUDY, store_instances, "store"),
    ("GET", f"{PREFIX}/studies", search_studies, "search"),
    ("GET", f"{PREFIX}/series", search_series, "search"),
    ("GET", f"{PREFIX}/instances", search_instances, "search"),
    ("GET", f"{_STUDY}/series", search_series, "search"),
    ("GET", f"{_STUDY}/instances", search_instances, "search"),
    ("GET", f"{_SERIES}/instances", search_instances, "search"),
    ("GET", _STUDY, retrieve, "download"),
    ("GET", _SERIES, retrieve, "download"),
    ("GET", _INSTANCE, retrieve, "download"),
    ("GET", f"{_STUDY}/metadata", retrieve_metadata, "metadata"),
    ("GET", f"{_SERIES}/metadata", retrieve_metadata, "metadata"),
    ("GET", f"{_INSTANCE}/metadata", retrieve_metadata, "metadata"),
    ("GET", f"{_INSTANCE}/frames/{{frames}}", retrieve_frames, "pixels"),
    ("GET", f"{_INSTANCE}/frames/{{frames}}/rendered", retrieve_rendered, "pixels"),
    ("GET", f"{_INSTANCE}/frames/{{frames}}/thumbnail", retrieve_thumbnail, "pixels"),
    ("GET", f"{_INSTANCE}/bulkdata/{{path:.+}}", retrieve_bulkdata, "pixels"),
    ("GET", f"{_INSTANCE}/rendered", retrieve_rendered, "pixels"),
    ("GET", f"{_INSTANCE}/thumbnail", retrieve_thumbnail, "pixels"),
    ("GET", f"{_INSTANCE}/waveform", retrieve_waveform, "pixels"),
    ("GET", f"{_SERIES}/rendered", retrieve_rendered, "pixels"),
    ("GET", f"{_SERIES}/thumbnail", retrieve_thumbnail, "pixels"),
    ("GET", f"{_STUDY}/rendered", retrieve_rendered, "pixels"),
    ("GET", f"{_STUDY}/thumbnail", retrieve_thumbnail, "pixels"),
    ("GET", URI_PATH, retrieve_by_uri, "pixels"),
    ("GET", f"{PREFIX}/", retrieve_capabilities, "search"),
    ("OPTIONS", f"{PREFIX}/", retrieve_capabilities, "search"),
]
describe(ROUTES)
