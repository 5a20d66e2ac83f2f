"""Pasted text of a hospital information system → fields of the request form."""


def parse_his_text(text: str) -> dict[str, str]:
    raise NotImplementedError
