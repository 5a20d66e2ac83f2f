"""The DICOM network of this server: which devices there are, what they may, and its ports (protocol: dicom/network)."""
