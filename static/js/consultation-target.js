// Choosing an expert or the on-call pool of a centre, for offers and reassignments.
import { api } from './api.js';
import { t } from './i18n.js';
import { busy, dialog, el } from './ui.js';

/** Resolves {organisation, membership?, specialty?, reason?} or null. */
export async function pickTarget(consultation, { title, action, reason = '' }) {
  const found = await busy(null, () => api('GET', `/api/consultations/${consultation}/targets`));
  if (!found) return null;
  const place = el('select', { class: 'input', id: 'f-place' }, found.places.map((x) => el('option', { value: x.id }, x.name)));
  const people = el('div', { class: 'choices', role: 'radiogroup', 'aria-label': t('派给谁') });
  const why = reason && el('textarea', { id: 'f-reason', rows: 2, maxlength: 500 });
  const error = el('p', { class: 'error-text' });
  const choice = (value, words, hint, checked) => {
    const input = el('input', { type: 'radio', name: 'expert', value, checked });
    return el('label', { class: 'choice' }, input, el('span', {}, words, hint && el('small', { class: 'muted' }, ` ${hint}`)));
  };
  const fill = () => {
    const here = found.places.find((x) => x.id === place.value);
    people.replaceChildren(choice('', t('值班专家'), t('先到先接'), true),
      ...here.experts.map((x) => choice(x.membership, `${x.name} ${x.title}`, [x.department, ...x.specialties].filter(Boolean).join(' · '), false)));
  };
  place.addEventListener('change', fill);
  if (found.places.length) fill();
  const chosen = await dialog({
    title,
    body: [el('div', { class: 'field' }, el('label', { for: 'f-place' }, t('机构')), place), people,
      why && el('div', { class: 'field' }, el('label', { for: 'f-reason' }, reason), error, why)],
    actions: [{ label: t('取消'), value: '', kind: 'quiet' }, { label: action, value: 'yes', kind: 'primary' }],
    check: () => {
      if (!why || why.value.trim()) return true;
      error.textContent = t('请写明原因');
      why.focus();
      return false;
    },
  });
  if (chosen !== 'yes') return null;
  const membership = people.querySelector('input:checked')?.value;
  return { organisation: place.value, ...(membership ? { membership } : {}), ...(why ? { reason: why.value.trim() } : {}) };
}
