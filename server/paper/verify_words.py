"""The sentences of a verdict, Chinese in the source, English from locale/en/paper.po."""

from collections.abc import Mapping

from server.paper.content import Language
from server.paper.verify import Reason, Verdict
from server.paper.words import translator


def _(text: str) -> str:
    return text


REASONS: Mapping[Reason, str] = {
    Reason.GENUINE: _("真实：本文件由本平台签发，签名后没有任何改动。"),
    Reason.UNREADABLE: _("无法确认：这不是完整的 PDF 文件。"),
    Reason.UNSIGNED: _("无法确认：文件中没有电子签名。"),
    Reason.ALTERED: _("不真实：文件在签名后被改动过。"),
    Reason.APPENDED: _("不真实：签名之后又添加了内容。"),
    Reason.UNKNOWN_SIGNER: _("无法确认：签名证书不是本平台签发的。"),
    Reason.REVOKED: _("不真实：签名时证书已被吊销。"),
}
_SIGNED_BY = _("签名人：{name}，{organisation}，执业证书号 {licence}，{at}")


def describe(verdict: Verdict, language: Language) -> list[str]:
    """One sentence of judgement, then one line per signer whose signature held. No clinical content."""
    say = translator(language)
    return [
        say(REASONS[verdict.reason]),
        *(
            say(_SIGNED_BY).format(
                name=signer.name,
                organisation=signer.organisation or "—",
                licence=signer.licence or "—",
                at=signer.at.isoformat(sep=" ", timespec="seconds"),
            )
            for signer in verdict.signers
        ),
    ]
