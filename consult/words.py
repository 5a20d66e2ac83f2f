"""Sentences for what is refused, in the source language; server/locale translates them (server/problems.py shows them).

FIELDS: reason codes of Invalid's fields. CONFLICTS: the `reason` of a Conflict. Placeholders are the codes' params.
"""

from collections.abc import Mapping

FIELDS: Mapping[str, str] = {
    "id_length": "身份证号应为 18 位，请核对",
    "id_check_digit": "身份证号有误（校验码不符），请逐位核对",
    "id_birth_date": "身份证号中的出生日期不存在，请核对",
    "id_mismatch": "与身份证号不一致，请核对",
    "passport_format": "护照号应为 5–20 位字母和数字",
    "number_format": "证件号或卡号的格式不正确",
    "phone_format": "电话号码只能包含数字、空格、括号和 + -",
    "age_range": "年龄应在 0 至 {max} 岁之间",
    "out_of_range": "日期不在合理范围内",
    "same_patient": "请选择另一位患者",
    "unknown_field": "不认识的项目",
    "unknown_choice": "请从列表中选择",
    "unknown_text": "知情同意书的版本不存在，请刷新页面",
    "wrong_kind": "格式不正确",
    "too_many": "数量过多，最多 {max} 项",
    "two_witnesses": "口头同意需要两名不同的见证人",
    "not_found": "没有找到，请重新选择",
    "not_an_expert": "请选择一位在岗的专家",
    "no_expert": "该机构没有可接诊的专家",
    "not_linked": "该机构与申请机构没有协作关系",
    "not_in_future": "请填写将来的时间",
    "end_before_start": "结束时间应晚于开始时间",
    "other_patient": "属于另一位患者，请核对",
    "unchanged_when_appending": "补充报告不能改动原有内容，如需改动请使用修订",
    "digest_mismatch": "文件在签名过程中发生了变化，请重新签发",
    "bad_date": "日期有误，请核对",
    "unusable_image": "图像无法使用，请移除后重新放入",
    "outcome_too_early": "{day} 天结局最早可在 {date} 填写；不再随访的可以提前填写",
    "signature_missing": "缺少签名，请重新签发",
}
CONFLICTS: Mapping[str, str] = {
    "already_accepted": "另一位专家已先接诊。",
    "offer_closed": "这次邀请已结束，会诊已转给其他专家。",
    "already_matched": "这项检查已经匹配，请先撤销原来的匹配。",
    "other_patient": "这项检查属于另一位患者，不能加入。",
    "order_has_studies": "这张申请单已有影像，不能作废。",
    "document_holds_consent": "这份文件是知情同意的签名，不能作废；如需更正，请先撤回同意。",
    "revision_open": "已有一份修订正在书写，请先签发或放弃。",
    "reviewer_missing": "此类报告需要两人签名，请先邀请复核医师。",
    "approval_missing": "复核医师还没有通过当前这一版，请先请其复核。",
    "feedback_given": "这一天的反馈已经填写，不能再改。",
    "already_rated": "您已经评价过这份申请，不能再改。",
    "would_show": "更正后，会诊中会看到原来看不到的影像。请先把这项检查也加入同一会诊，或先从会诊中移除目标检查。",
    "would_hide": "这项检查已共享给会诊，合并后对方会看不到它。请先把目标检查也加入同一会诊。",
    "doubted_study": "专家指出这项检查患者不符，请先在“未匹配”中处理。",
    "takes_part_already": "该专家已参加这次会诊。",
}
REMOVALS: Mapping[str, str] = {
    "same_person": "提出移除的人不能自己批准，请由本机构另一位同事决定。",
    "expired": "这份移除申请没有在期限内决定，已经失效；如仍需移除，请重新提出。",
    "decided_already": "这份移除申请已有决定。请刷新查看。",
    "refused": "没有批准移除。",
    "proposed_already": "已在另一份移除申请中，请先等它决定。",
    "on_hold": "这项检查已设保留令；解除之前不能移除。",
    "open_consultation": "有会诊正在使用这项检查，或这位患者有会诊还没有结束；归档之后才能移除。",
    "doubted_study": "专家指出这项检查患者不符，请先在“未匹配”中处理。",
    "quarantine_waits": "隔离区里有这项检查的文件还没有处理，请先处理。",
    "retention": "保存期限未满，或最近又收到了影像，不能移除。",
    "no_such_study": "这项检查已不在本机构的影像库里。",
    "changed_meanwhile": "这项检查的内容刚刚变化，没有移除；请重新提出。",
}
"""Why images are not removed, by the reason of `removal_refused`."""
