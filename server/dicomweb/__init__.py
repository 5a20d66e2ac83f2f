"""DICOMweb (PS3.18) over the archive: parsing, permission, serialising. Nothing here knows packs or SQL."""
