// The loop closes: the clinic tells what became of it, the expert rates the request. Refusals stay in the dialog.
import { api } from './api.js';
import { t } from './i18n.js';
import { dateText, dialog, el, showProblem } from './ui.js';

/** A group of radio buttons named `name`: [[value, words]]. `value` is the one chosen at first; `wrong` a line for errors. */
function radios(name, legend, choices, { value = null, off = [] } = {}) {
  return el('fieldset', { class: 'field', id: `f-${name}`, tabindex: -1 }, el('legend', {}, legend), el('p', { class: 'error-text' }),
    el('div', { class: 'choices' }, choices.map(([key, words]) => {
      const box = el('input', { type: 'radio', name, value: key, disabled: off.includes(key) });
      box.checked = String(value) === String(key);
      return el('label', { class: 'choice' }, box, el('span', {}, words));
    })));
}

function words(name, label, { rows = 2, most, optional = true, value = '' }) {
  const area = el('textarea', { id: `f-${name}`, name, rows, maxlength: most });
  area.value = value;
  return el('div', { class: 'field' }, el('label', { for: `f-${name}` }, label, optional && el('span', { class: 'optional' }, t('选填'))),
    el('p', { class: 'error-text' }), area);
}

const RATINGS = () => [1, 2, 3, 4, 5].map((n) => [n, String(n)]);

/** Asks in a dialog and sends what `read(form)` makes of it; stays open while it is refused. Resolves true when sent. */
async function ask(title, body, url, read) {
  const form = () => body[0].closest('form');
  const answered = (event) => {
    const field = event.target.closest('.field');
    field?.classList.remove('field-error');
    field?.querySelector('.error-text')?.replaceChildren();
    (event.target.closest('fieldset') ?? event.target).removeAttribute('aria-invalid');
  };
  const chosen = await dialog({
    title, body: el('div', { class: 'feedback-form stack', oninput: answered }, body), wide: true,
    actions: [{ label: t('取消'), value: '', kind: 'quiet' }, { label: t('提交'), value: 'yes', kind: 'primary' }],
    check: async () => {
      try {
        await api('POST', url, read(new FormData(form())));
        return true;
      } catch (problem) {
        if (problem.name !== 'Problem') throw problem;
        showProblem(problem, form());
        return false;
      }
    },
  });
  return chosen === 'yes';
}

/** The clinic's feedback: `about` is the page's data.feedback, `version` the consultation's. */
export function giveFeedback(url, about, version) {
  const reason = words('reason', t('没有全部采纳的原因'), { most: 500, optional: false, value: about.reason });
  const early = new Date(about.last_from) > new Date();
  const last = el('input', { type: 'checkbox', name: 'final' });
  const body = [
    el('div', { class: 'feedback-grid' },
      radios('day', t('这是哪一天的结局'), [[7, t('{n} 天', { n: 7 })], [30, t('{n} 天', { n: 30 })]], { value: about.day, off: about.told }),
      el('div', { class: 'field' }, el('label', { class: 'choice' }, last, el('span', {}, t('不再随访'), el('br'), el('small', { class: 'muted' }, early ? t('否则 30 天结局从 {date} 起填写', { date: dateText(about.last_from) }) : t('会诊随之归档'))))),
      radios('adoption', t('会诊意见'), [['adopted', t('采纳')], ['partly', t('部分采纳')], ['not', t('未采纳')]], { value: about.adoption }),
      radios('plan_changed', t('治疗方案'), [['yes', t('有调整')], ['no', t('未调整')]], { value: { true: 'yes', false: 'no' }[about.plan_changed] })),
    reason,
    radios('outcome', t('患者结局'), [['improved', t('好转')], ['unchanged', t('无变化')], ['worse', t('加重')], ['referred', t('已转诊')], ['died', t('死亡')], ['lost', t('失访')]]),
    el('div', { class: 'feedback-grid' }, words('done', t('已做的处理'), { most: 2000 }), words('comment', t('给专家的话'), { most: 1000 })),
    radios('rating', about.told.length ? t('对会诊意见的评价（选填，5 分最好）') : t('对会诊意见的评价（5 分最好）'), RATINGS()),
  ];
  const toggle = () => { reason.hidden = ![...body[0].querySelectorAll('[name=adoption]:checked')].some((x) => x.value !== 'adopted'); };
  body[0].addEventListener('change', toggle);
  toggle();
  return ask(t('反馈'), body, url, (form) => ({
    version,
    day: Number(form.get('day')) || null,
    adoption: form.get('adoption'),
    reason: form.get('reason'),
    plan_changed: form.has('plan_changed') ? form.get('plan_changed') === 'yes' : null,
    done: form.get('done'),
    outcome: form.get('outcome'),
    rating: Number(form.get('rating')) || null,
    comment: form.get('comment'),
    final: form.has('final'),
  }));
}

/** The expert's rating of the request; given once. */
export function rateRequest(url) {
  const body = [
    el('p', {}, t('申请方会看到您的评价；提交后不能修改。')),
    radios('rating', t('这份申请写得如何（5 分最好）'), RATINGS()),
    words('comment', t('给申请医生的话'), { most: 1000, rows: 3 }),
  ];
  return ask(t('评价申请'), body, url, (form) => ({ rating: Number(form.get('rating')) || null, comment: form.get('comment') }));
}
