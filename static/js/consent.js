// Consent: the text as it will be recorded, who signs, what for; drawn on screen, scanned, or spoken before two witnesses.
import { api } from './api.js';
import { sendDocument } from './documents.js';
import { t } from './i18n.js';
import { busy, clearProblem, confirm, dateTime, el, icon, showProblem } from './ui.js';

const SCOPES = ['consultation', 'record_reading', 'image_sharing', 'recording', 'teaching'];
const USUAL = ['consultation', 'record_reading', 'image_sharing'];

/** A pad one signs on with finger, pen or mouse. Returns {node, empty(), clear(), blob()}. */
export function signaturePad() {
  const canvas = el('canvas', { class: 'sign-pad', tabindex: '0', role: 'img', 'aria-label': t('手写签名区') });
  const pen = canvas.getContext('2d');
  let marks = 0;
  let last = null;
  function size() {
    const room = canvas.getBoundingClientRect();
    if (!room.width || marks) return;
    const scale = Math.max(2, devicePixelRatio);
    canvas.width = Math.round(room.width * scale);
    canvas.height = Math.round(room.height * scale);
    pen.scale(scale, scale);
    pen.fillStyle = '#fff';
    pen.fillRect(0, 0, room.width, room.height);
    pen.strokeStyle = '#101828';
    pen.lineCap = 'round';
    pen.lineJoin = 'round';
  }
  new ResizeObserver(size).observe(canvas);
  const at = (event) => [event.offsetX, event.offsetY];
  canvas.addEventListener('pointerdown', (event) => { canvas.setPointerCapture(event.pointerId); last = at(event); event.preventDefault(); });
  canvas.addEventListener('pointermove', (event) => {
    if (!last) return;
    for (const step of event.getCoalescedEvents?.() ?? [event]) {
      const next = at(step);
      pen.lineWidth = 1.4 + 2 * (step.pressure || 0.5);
      pen.beginPath();
      pen.moveTo(...last);
      pen.lineTo(...next);
      pen.stroke();
      last = next;
      marks += 1;
    }
  });
  for (const name of ['pointerup', 'pointercancel']) canvas.addEventListener(name, () => { last = null; });
  const clear = () => { marks = 0; size(); };
  return { node: canvas, empty: () => marks < 5, clear, blob: () => new Promise((resolve) => { canvas.toBlob(resolve, 'image/png'); }) };
}

/**
 * The consent part of the form. options: consultation, consents (views), texts, labels, patient (name), before() saves
 * the form first; changed(list). Returns {inForce()}.
 */
export function mountConsent(element, { consultation, consents, texts, labels, patient, changed = () => {} }) {
  const list = [...consents];
  const inForce = () => list.some((x) => !x.withdrawn && x.scopes.includes('consultation'));
  const given = el('ul', { class: 'list' });
  const form = el('div', { class: 'consent-form stack-8' });
  const again = el('button', { class: 'button button-small button-quiet', type: 'button', onclick: () => { form.hidden = false; again.hidden = true; } }, icon('plus'), t('再记录一份同意'));
  element.replaceChildren(given, again, form);

  function draw() {
    given.replaceChildren(...list.map((x) => el('li', { class: x.withdrawn ? 'muted' : '' }, icon(x.withdrawn ? 'circle-x' : 'circle-check'), el('span', { class: 'grow' },
      el('b', { 'data-user': '' }, x.signer || x.witnesses.join('、')), ` · ${labels.consent[x.mode]} · ${dateTime(x.given_at)}`, el('br'),
      el('small', { class: 'muted' }, x.scopes.map((s) => labels.scope[s]).join(' · '), ' · ', t('文本 {version}', { version: x.text_version }), x.withdrawn ? ` · ${t('已撤回')}` : '')),
      !x.withdrawn && el('button', { class: 'button button-small button-quiet', type: 'button', onclick: () => withdraw(x) }, t('撤回')))));
    form.hidden = inForce();
    again.hidden = !inForce();
    changed(inForce());
  }
  async function withdraw(x) {
    const why = await confirm({ title: t('撤回同意？'), text: t('撤回之前已经完成的会诊不受影响。'), action: t('撤回同意'), reason: t('原因'), danger: true });
    if (!why) return;
    const done = await busy(null, () => api('POST', `/api/consultations/${consultation}/consents/${x.id}/withdraw`, { reason: why.reason }));
    if (!done) return;
    x.withdrawn = true;
    draw();
  }

  const radios = (name, entries, checked) => el('div', { class: 'choices', role: 'radiogroup' }, entries.map(([value, word]) => el('label', { class: 'choice' }, el('input', { type: 'radio', name, value, checked: value === checked }), el('span', {}, word))));
  const text = el('select', { class: 'input', id: 'f-consent-text_version', 'data-user': '' }, texts.map((x) => el('option', { value: x.version }, `${x.title}（${x.version}）`)));
  const words = el('div', { class: 'consent-text', tabindex: '0', 'data-user': '', role: 'document', 'aria-label': t('同意书文本') });
  const modes = radios('consent-mode', ['signature', 'scan', 'witnesses'].map((x) => [x, labels.consent[x]]), 'signature');
  const signer = el('input', { class: 'input', id: 'f-consent-signer', maxlength: 64, autocomplete: 'off', 'data-user': '' });
  signer.value = patient;
  const relation = el('select', { class: 'input', id: 'f-consent-relation' }, ['self', 'spouse', 'parent', 'child', 'sibling', 'guardian', 'other'].map((value) => el('option', { value }, labels.relation[value])));
  const scopes = el('div', { class: 'choices', id: 'f-consent-scopes', tabindex: '-1' }, SCOPES.map((x) => el('label', { class: 'choice' }, el('input', { type: 'checkbox', value: x, checked: USUAL.includes(x) }), el('span', {}, labels.scope[x]))));
  const pad = signaturePad();
  const scan = el('input', { type: 'file', id: 'f-consent-scan', accept: '.pdf,image/jpeg,image/png', class: 'input' });
  const names = [0, 1].map((n) => el('input', { class: 'input', id: `f-consent-witness-${n}`, maxlength: 64, autocomplete: 'off' }));
  const field = (label, id, ...nodes) => el('div', { class: 'field' }, el('label', { for: id }, label), el('p', { class: 'error-text' }), nodes);
  const boxes = {
    signature: el('div', { class: 'field', id: 'f-consent-document', tabindex: '-1' }, el('span', { class: 'label' }, t('请签名')), el('p', { class: 'error-text' }), pad.node, el('div', {}, el('button', { class: 'button button-small', type: 'button', onclick: pad.clear }, icon('rotate-ccw'), t('重签')))),
    scan: field(t('签好的纸质同意书'), 'f-consent-scan', scan),
    witnesses: el('div', { class: 'field', id: 'f-consent-witnesses', tabindex: '-1' }, el('p', { class: 'error-text' }), el('div', { class: 'fields' }, field(t('见证人一'), names[0].id, names[0]), field(t('见证人二'), names[1].id, names[1]))),
  };
  const whoBox = el('div', { class: 'fields' }, field(t('签署人'), 'f-consent-signer', signer), field(t('与患者的关系'), 'f-consent-relation', relation));
  const save = el('button', { class: 'button', type: 'button' }, icon('signature'), t('记录同意'));
  form.append(field(t('文本'), text.id, text), words, el('div', { class: 'field' }, el('span', { class: 'label' }, t('方式')), modes), whoBox, ...Object.values(boxes), el('div', { class: 'field' }, el('span', { class: 'label' }, t('同意的内容')), el('p', { class: 'error-text' }), scopes), el('div', {}, save));

  const mode = () => modes.querySelector('input:checked').value;
  function adapt() {
    for (const [name, box] of Object.entries(boxes)) box.hidden = name !== mode();
    whoBox.hidden = mode() === 'witnesses';
    if (mode() === 'witnesses') text.value = texts.at(-1).version;
    else text.value = texts[0].version;
    words.textContent = texts.find((x) => x.version === text.value).body;
  }
  modes.addEventListener('change', adapt);
  text.addEventListener('change', () => { words.textContent = texts.find((x) => x.version === text.value).body; });

  save.addEventListener('click', async () => {
    const host = form.closest('form');
    clearProblem(host);
    const wrong = [];
    const how = mode();
    if (how === 'signature' && pad.empty()) wrong.push({ path: 'consent-document', message: t('请在签名区签名') });
    if (how === 'scan' && !scan.files.length) wrong.push({ path: 'consent-scan', message: t('请选择扫描件或照片') });
    if (how !== 'witnesses' && !signer.value.trim()) wrong.push({ path: 'consent-signer', message: t('请写签署人姓名') });
    if (how === 'witnesses' && new Set(names.map((x) => x.value.trim()).filter(Boolean)).size < 2) wrong.push({ path: 'consent-witnesses', message: t('请写两位不同见证人的姓名') });
    if (wrong.length) { showProblem({ fields: wrong, code: 'invalid' }, host); return; }
    const made = await busy(save, async () => {
      let document = null;
      if (how === 'signature') document = (await sendDocument(consultation, new File([await pad.blob()], 'signature.png', { type: 'image/png' }), { kind: 'signature', title: t('手写签名') })).id;
      if (how === 'scan') document = (await sendDocument(consultation, scan.files[0], { kind: 'consent', title: t('知情同意书') })).id;
      const body = {
        text_version: text.value, mode: how, document, signer: how === 'witnesses' ? '' : signer.value.trim(), relation: how === 'witnesses' ? 'other' : relation.value,
        scopes: [...scopes.querySelectorAll('input:checked')].map((x) => x.value), witnesses: how === 'witnesses' ? names.map((x) => x.value.trim()) : [],
      };
      return { ...body, ...(await api('POST', `/api/consultations/${consultation}/consents`, body)) };
    }, host);
    if (!made) return;
    list.push({ ...made, given_at: new Date().toISOString(), withdrawn: false });
    pad.clear();
    draw();
    given.querySelector('li:last-child')?.scrollIntoView({ block: 'nearest' });
  });
  adapt();
  draw();
  return { inForce };
}
