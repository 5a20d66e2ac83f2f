"""The DICOM network (PS3.7, PS3.8): upper layer, DIMSE, and the services on it."""
