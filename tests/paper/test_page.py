"""The printed page: what is typed stands there literally, in an embedded font, on as many pages as it needs."""

from __future__ import annotations

import io
import re
import threading

import pypdfium2
import pytest
from pyhanko.pdf_utils.reader import PdfFileReader

from consult.errors import Invalid
from consult.model import ReportStatus
from server.paper.content import KeyImage, QuestionAnswer, content_digest
from tests.paper.samples import full_report, picture


def page_texts(pdf: bytes) -> list[str]:
    document = pypdfium2.PdfDocument(pdf)
    try:
        return [page.get_textpage().get_text_range() for page in document]
    finally:
        document.close()


def text_of(pdf: bytes) -> str:
    """All text without white space, as lines break where the page ends."""
    return re.sub(r"\s", "", "".join(page_texts(pdf)))


def test_everything_of_the_report_stands_on_the_paper(press):
    content = full_report(critical=True, version=2, status=ReportStatus.AMENDED, reason="剂量笔误")
    text = text_of(press.render(content))
    for part in (
        content.number, content.requesting.name, content.requesting.department, content.serving.name,
        content.serving.department, content.patient.name, "男", "62岁", "1964-03-09", "219X", "K00871234", "临床会诊",
        "加急", "2026-11-2209:05", "2026-11-2210:42", content.clinic_doctor, "更正报告", "第2版", "剂量笔误", "危急值",
        content.materials, content.findings, content.advice, content.further_tests, content.referral_advice,
        "2026-12-06", content.limits, content.code, content.verify_url, "演示数据，不得用于诊疗",
        *(item.question for item in content.questions), *(item.answer for item in content.questions),
        *(item.text for item in content.diagnoses), *(item.icd10 for item in content.diagnoses), "很可能", "明确",
        *(image.caption for image in content.key_images), *(image.sop_uid for image in content.key_images),
        *(value for line in content.signers for value in (line.name, line.title, line.licence)),
    ):  # fmt: skip
        assert re.sub(r"\s", "", part) in text, part


def test_an_english_report_prints_no_chinese_label(press):
    content = full_report(language="en", demo=True, critical=True)
    text = text_of(press.render(content))
    for part in ("RemoteConsultationReport", "CRITICALVALUE", "Page1/2", "Probable", "Licence"):
        assert part in text
    for label in ("姓名", "会诊机构", "诊断意见", "签名", "第1/", "演示数据"):
        assert label not in text


@pytest.mark.parametrize(
    "typed",
    [
        "#let x = 1; #x", '#import "@preview/evil:1.0.0": *', "$x^2$ *bold* _it_ `raw` = heading", "] } ) // comment",
        '"); #panic("x', "\\u{41} \\ #sys.inputs", '#read("/etc/passwd")', "{number} {0} %s {{}}", "<script>alert(1)</script> &amp;",
        "- list\n+ enum\n/ term: x\n= h", "https://a.example/x?y=1#z @ref <label>", "...---~ 'quotes' \"double\"",
    ],
)  # fmt: skip
def test_markup_in_typed_text_appears_literally(press, typed):
    content = full_report(
        findings=typed,
        questions=(QuestionAnswer(number=1, question=typed, answer=typed),),
        signers=(),
        key_images=(),
        clinic_doctor=typed,
    )
    expected = re.sub(r"\s", "", typed)
    assert text_of(press.render(content)).count(expected) == 4


def test_characters_no_font_has_are_printed_as_their_code_point(press):
    text = text_of(press.render(full_report(findings="血压😀正常 ئۇ 左\u202e右 a\u0007b", key_images=())))
    for part in ("血压〔U+1F600〕正常", "〔U+0626〕", "左〔U+202E〕右", "a〔U+0007〕b"):
        assert part in text


def test_a_rare_name_is_printed_whole(press):
    content = full_report(key_images=())
    name = "㛃𠅤·阿卜杜热合曼·买买提明"
    pdf = press.render(full_report(key_images=(), clinic_doctor=name, number=content.number))
    shown = text_of(pdf)
    assert "㛃" in shown
    assert "阿卜杜热合曼·买买提明" in shown


def test_the_font_is_embedded_as_a_subset_and_the_file_says_pdfa_2b(press):
    pdf = press.render(full_report(key_images=()))
    reader = PdfFileReader(io.BytesIO(pdf))
    names = []
    for page in reader.root["/Pages"]["/Kids"]:
        fonts = page.get_object()["/Resources"]["/Font"]
        for font in (fonts[name] for name in fonts):
            descendant = font["/DescendantFonts"][0]
            descriptor = descendant["/FontDescriptor"]
            assert "/FontFile3" in descriptor or "/FontFile2" in descriptor
            names.append(str(descendant["/BaseFont"]))
    assert names
    assert all(re.fullmatch(r"/[A-Z]{6}\+Noto(Sans|Serif)SC-Regular.*", name) for name in names)
    metadata = reader.root["/Metadata"].data.decode()
    assert re.search(r"pdfaid:part[^0-9]{1,3}2", metadata)
    assert re.search(r"pdfaid:conformance[^A-Z]{1,3}B", metadata)
    assert len(pdf) < 400_000


def test_each_page_is_a4_and_names_patient_code_and_page_number(press):
    content = full_report(findings="\n".join(f"第 {n} 行：未见异常。" for n in range(420)), demo=False)
    pdf = press.render(content)
    document = pypdfium2.PdfDocument(pdf)
    sizes = {tuple(round(side) for side in page.get_size()) for page in document}
    document.close()
    assert sizes == {(595, 842)}
    texts = [re.sub(r"\s", "", text) for text in page_texts(pdf)]
    assert len(texts) >= 10
    for number, text in enumerate(texts, start=1):
        assert f"第{number}/{len(texts)}页" in text
        assert "欧阳建国" in text
        assert content.number in text
        assert content.code in text
    assert "第419行" in "".join(texts)
    assert "演示数据" not in "".join(texts)


def test_a_word_without_end_stays_on_the_page(press):
    document = pypdfium2.PdfDocument(press.render(full_report(findings="W" * 900, key_images=())))
    right_edges = [
        box[2]
        for page in document
        for text in [page.get_textpage()]
        for index in range(text.count_rects())
        for box in [text.get_rect(index)]
    ]
    document.close()
    assert max(right_edges) <= 595 - 20 / 25.4 * 72 + 1


def test_key_images_are_drawn_not_only_named(press):
    pdf = press.render(full_report(demo=False))
    document = pypdfium2.PdfDocument(pdf)
    dark = 0
    for page in document:
        grey = page.render(scale=0.5).to_pil().convert("L")
        dark += sum(grey.histogram()[:20])
    document.close()
    plain = pypdfium2.PdfDocument(press.render(full_report(demo=False, key_images=())))
    dark_without = sum(sum(page.render(scale=0.5).to_pil().convert("L").histogram()[:20]) for page in plain)
    plain.close()
    assert dark > dark_without + 5_000


@pytest.mark.parametrize(
    "data",
    [
        b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", picture("PNG")[:40], b"\xff\xd8\xff\xe0\x00\x10", b"<svg/>",
        picture("PNG")[:16] + b"\x00\x01\x00\x00\x00\x01\x00\x00" + picture("PNG")[24:],
        picture("JPEG", mode="CMYK"), picture("JPEG")[:-200], picture("PNG")[:-30],
    ],
)  # fmt: skip
def test_a_picture_that_cannot_be_printed_is_refused_by_name(press, data):
    bad = KeyImage(caption="x", data=data, study_uid="1.2", sop_uid="1.2.3")
    good = full_report().key_images[0]
    with pytest.raises(Invalid) as refused:
        press.render(full_report(key_images=(good, bad)))
    assert refused.value.fields == (("key_images.1", "unusable_image"),)


def test_a_picture_broken_behind_its_header_is_refused_and_the_press_goes_on(press):
    data = bytearray(picture("JPEG"))
    scan = data.index(b"\xff\xda")
    data[scan + 4 : -2] = b"\x00" * (len(data) - scan - 6)
    bad = KeyImage(caption="x", data=bytes(data), study_uid="1.2", sop_uid="1.2.3")
    with pytest.raises(Invalid):
        press.render(full_report(key_images=(bad,)))
    assert press.render(full_report(key_images=())).startswith(b"%PDF-")


def test_the_content_digest_is_in_the_file(press):
    content = full_report(key_images=())
    info = PdfFileReader(io.BytesIO(press.render(content))).trailer["/Info"]
    assert f"huizhen-content-sha256:{content_digest(content)}" in str(info["/Keywords"])
    assert content.patient.name not in str(info["/Title"])


def test_the_same_report_gives_the_same_bytes_from_many_threads(press):
    content = full_report()
    made: list[bytes] = []
    threads = [threading.Thread(target=lambda: made.append(press.render(content))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert len(set(made)) == 1
