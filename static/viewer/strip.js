// The strip of series: one card for everything that can be opened, with its thumbnail.
import { el, icon } from './dom.js';

const ICONS = { ecg: 'heart-pulse', pdf: 'file-text', other: 'file', image: 'image' };

export class Strip {
  constructor(viewer) {
    this.viewer = viewer;
    this.places = new Map(); // series uid → element that holds its cards
    this.cards = new Map(); // display set → its button
    viewer.watch(() => this.#mark());
  }

  /** One sentence instead of cards; with `again`, a button to try again. */
  say(text, again = null) {
    const { stripRoot, t, iconsUrl } = this.viewer;
    stripRoot.replaceChildren(el('p', { class: 'vw-strip-text', role: 'status' }, text));
    if (again) {
      stripRoot.append(
        el('button', { type: 'button', class: 'vw-text-button', onclick: again }, icon(iconsUrl, 'refresh-cw'), t('重试')),
      );
    }
  }

  /** A place for every series, in order, before their contents are known. */
  show(list) {
    this.viewer.stripRoot.replaceChildren();
    this.places.clear();
    this.cards.clear();
    for (const series of list) {
      const place = el('div', { class: 'vw-strip-series' }, this.#waiting(series));
      this.places.set(series.uid, place);
      this.viewer.stripRoot.append(place);
    }
  }

  fill(series, sets) {
    const place = this.places.get(series.uid);
    place?.replaceChildren(...sets.map((set, at) => this.#card(set, at, sets.length)));
    if (place && !sets.length) place.remove();
    this.#mark();
  }

  fail(series, text, again) {
    const { t, iconsUrl } = this.viewer;
    const retry = el('button', { type: 'button', class: 'vw-card vw-card-failed', title: text }, icon(iconsUrl, 'refresh-cw'));
    retry.append(el('span', { class: 'vw-card-title' }, t('没有取到，重试')));
    retry.addEventListener('click', () => {
      this.places.get(series.uid)?.replaceChildren(this.#waiting(series));
      again();
    });
    this.places.get(series.uid)?.replaceChildren(retry);
  }

  #waiting(series) {
    return el(
      'div',
      { class: 'vw-card vw-card-waiting' },
      el('span', { class: 'vw-thumb' }),
      el('span', { class: 'vw-card-title', 'data-user': true }, series.description || series.modality),
    );
  }

  #card(set, at, siblings) {
    const { t, iconsUrl, archive } = this.viewer;
    const thumb = el('span', { class: 'vw-thumb' }, icon(iconsUrl, ICONS[set.kind]));
    if (set.kind === 'image') {
      const image = el('img', { alt: '', width: '64', height: '64', decoding: 'async' });
      // The icon beneath stays as the placeholder where the archive has no thumbnail.
      image.addEventListener('load', () => thumb.replaceChildren(image));
      image.src = set.thumbnailUrl;
    }
    const title = el('span', { class: 'vw-card-title', 'data-user': Boolean(set.description) }, this.#title(set));
    const words = [thumb, el('span', { class: 'vw-card-words' }, title, el('span', { class: 'vw-card-detail' }, this.#detail(set)))];
    if (set.kind === 'pdf') {
      const href = archive.documentUrl(set.seriesUid, set.sopUid);
      return el('a', { class: 'vw-card', href, target: '_blank', rel: 'noopener', title: t('在新窗口打开文档') }, ...words);
    }
    const card = el('button', { type: 'button', class: 'vw-card', title: set.description ? null : this.#title(set), disabled: set.kind === 'other' }, ...words);
    card.addEventListener('click', () => this.viewer.openSet(set));
    card.dataset.series = set.seriesUid;
    card.dataset.part = `${at + 1}/${siblings}`;
    this.cards.set(set, card);
    return card;
  }

  #title(set) {
    const { t } = this.viewer;
    if (set.description) return set.description;
    if (set.kind === 'ecg') return t('心电图');
    if (set.kind === 'pdf') return t('文档');
    return set.number === undefined ? t('未命名序列') : t('序列 {n}', { n: set.number });
  }

  #detail(set) {
    const { t } = this.viewer;
    if (set.kind === 'image') {
      return [set.modality, t(set.multiframe ? '{n} 帧' : '{n} 幅', { n: set.frames.length })].filter(Boolean).join(' · ');
    }
    if (set.kind === 'other') return [set.modality, t('不能在此显示')].filter(Boolean).join(' · ');
    return set.kind === 'pdf' ? 'PDF' : set.modality || 'ECG';
  }

  /** Which cards are on screen, and which one has the active cell. */
  #mark() {
    const { cells, active, openPanel } = this.viewer;
    for (const [set, card] of this.cards) {
      const open = openPanel ? openPanel === set : cells.some((cell) => cell.set === set);
      const current = openPanel ? openPanel === set : active?.set === set;
      card.classList.toggle('vw-open', open);
      if (current) card.setAttribute('aria-current', 'true');
      else card.removeAttribute('aria-current');
    }
  }
}
