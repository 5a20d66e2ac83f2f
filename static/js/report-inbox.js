// The inbox keeps up with what arrives and what colleagues acknowledge, without moving a row under the pointer.
import { pageData } from './api.js';
import { t } from './i18n.js';
import { subscribe } from './live.js';
import { tick, toast } from './ui.js';

const { organisation } = pageData();
let told = null;
subscribe(`inbox:${organisation}`, () => {
  told?.();
  told = toast(t('收件箱有新的变化'), { seconds: 600, action: { label: t('刷新'), run: () => location.reload() } });
});
tick();
