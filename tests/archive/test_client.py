"""dicomweb-client, a client no one here wrote, against the same routes."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient

from dicom.model import Scope
from tests.archive.files import make, real
from tests.archive.service import service

__all__ = ["service"]
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def client(service):
    service.scope = Scope(organisations=frozenset({"A"}), holder="A")
    return DICOMwebClient(str(service.client.make_url("/dicom-web")))


def ids(service, name):
    r = service.rows[name]
    return r.study_uid, r.series_uid, r.sop_uid


async def test_it_searches_and_stores(service, client):
    def work():
        ds = pydicom.dcmread(io.BytesIO(make("1.77.1.1", study="1.77", series="1.77.1")))
        answer = client.store_instances([ds])
        assert answer.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.77.1.1"
        (found,) = client.search_for_studies(
            search_filters={"PatientName": "zhangsan*"}, fields=["StudyDescription"], limit=5
        )
        assert found["0020000D"]["Value"] == ["1.77"]
        (series,) = client.search_for_series("1.77")
        assert series["0020000E"]["Value"] == ["1.77.1"]
        assert client.search_for_instances("1.77", "1.77.1")[0]["00080018"]["Value"] == ["1.77.1.1"]
        assert client.search_for_studies(search_filters={"PatientID": "nobody"}) == []

    await asyncio.to_thread(work)


async def test_it_retrieves_files_metadata_frames_pictures_and_bulk_data(service, client):
    def work():
        ct = ids(service, "CT_small.dcm")
        want = pydicom.dcmread(io.BytesIO(real("CT_small.dcm")))
        assert client.retrieve_instance(*ct) == want
        assert [ds.SOPInstanceUID for ds in client.retrieve_series(*ct[:2])] == [ct[2]]
        (metadata,) = client.retrieve_series_metadata(*ct[:2])
        assert metadata["00280010"]["Value"] == [128]
        (frame,) = client.retrieve_instance_frames(*ct, frame_numbers=[1])
        assert frame == want.PixelData
        png = client.retrieve_instance_rendered(*ct, media_types=("image/png",))
        assert png.startswith(b"\x89PNG")
        colour = ids(service, "examples_ybr_color.dcm")
        jpegs = client.retrieve_instance_frames(
            *colour, frame_numbers=[2, 5], media_types=(("image/jpeg", "1.2.840.10008.1.2.4.50"),)
        )
        assert len(jpegs) == 2 and all(jpeg in real("examples_ybr_color.dcm") for jpeg in jpegs)
        rle = ids(service, "MR_small_RLE.dcm")
        plain = client.retrieve_instance(*rle)
        assert np.array_equal(plain.pixel_array, pydicom.dcmread(io.BytesIO(real("MR_small.dcm"))).pixel_array)
        ecg = client.retrieve_instance_metadata(*ids(service, "waveform_ecg.dcm"))
        uri = ecg["54000100"]["Value"][0]["54001010"]["BulkDataURI"]
        # This client's Host header leaves the port out, so the address it was told does too.
        (value,) = client.retrieve_bulkdata(client.base_url + uri.partition("/dicom-web")[2])
        assert len(value) == 240_000 and value in real("waveform_ecg.dcm")

    await asyncio.to_thread(work)
