// DICOM devices of the organisation: register, change, retire, test the connection.
import { api } from './api.js';
import { t } from './i18n.js';
import { busy, confirm, onSubmit, parts, toast } from './ui.js';

const OUTCOMES = {
  rejected: () => t('设备拒绝了连接：请核对双方的 AE 名称'),
  unreachable: () => t('连接不上：请核对地址和端口，设备是否已开机'),
  no_address: () => t('没有填写接收地址'),
};
const REASONS = {
  calling: () => t('设备拒绝了连接：它不认识本机的 AE 名称，请在设备上登记'),
  called: () => t('设备拒绝了连接：它不叫这个 AE 名称，请核对登记的名称'),
  busy: () => t('设备正忙，没有接受连接，请稍后再试'),
  echo: () => t('设备接受了连接，但不回应连接测试（C-ECHO）'),
  tls: () => t('加密连接没有建立：请核对双方的证书'),
};

onSubmit(document.getElementById('device-form'), async (given, { dataset: { device, version } }) => {
  const body = {
    ...given,
    port: /^\d{1,5}$/.test(given.port) ? Math.min(Number(given.port), 65535) : 0,
    tls: given.tls === 'yes',
    conflict_status: Number(given.conflict_status),
    modalities: parts(given.modalities),
  };
  if (device) await api('PATCH', `/api/devices/${device}`, { ...body, version: Number(version) });
  else await api('POST', '/api/devices', body);
  location.assign('/admin/devices');
});

document.getElementById('devices')?.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  const row = button?.closest('[data-device]');
  if (!row) return;
  const { device } = row.dataset;
  busy(button, async () => {
    if (button.matches('[data-echo]')) {
      const said = row.querySelector('[data-outcome]');
      said.textContent = t('正在连接…');
      const { outcome, reason, milliseconds } = await api('POST', `/api/devices/${device}/echo`, {});
      said.textContent = outcome === 'answered' ? t('设备有应答（{ms} 毫秒）', { ms: milliseconds }) : (REASONS[reason] ?? OUTCOMES[outcome])();
    } else if (button.matches('[data-end]')) {
      if (!(await confirm({ title: t('停用设备？'), text: t('这台设备不能再发送和查询，已收到的影像不变。'), action: t('停用'), danger: true }))) return;
      await api('POST', `/api/devices/${device}/end`, {});
      toast(t('已停用'));
      location.assign('/admin/devices');
    }
  });
});
