// Every call to the server. Adds the CSRF token, turns refusals into Problem, and on an expired login asks for the
// password over the page and repeats the call: nothing typed is lost.
import { t } from './i18n.js';

const csrfMeta = document.querySelector('meta[name="csrf"]');
export const csrf = () => csrfMeta?.content ?? '';

/** A refusal of the server (problem+json), or of the line (status 0, code "offline"). */
export class Problem extends Error {
  constructor({ status = 0, code = 'offline', title = '', detail = '', fields = [], request_id = '', ...more } = {}) {
    super(detail || title || code);
    this.name = 'Problem';
    Object.assign(this, { status, code, title, detail, fields, requestId: request_id, more });
  }
}

const offline = () =>
  new Problem({ title: t('连接不上服务器'), detail: t('网络已断开或服务器没有回应，内容没有发出。请检查网络后再试。') });

async function problemOf(answer) {
  const kind = answer.headers.get('Content-Type') ?? '';
  const body = kind.includes('json') ? await answer.json().catch(() => ({})) : {};
  return new Problem({
    title: t('无法完成'), detail: t('服务器没有完成这一步。请再试一次。'), code: `http_${answer.status}`, ...body, status: answer.status,
  });
}

let asking = null; // one dialog for all calls that find the login gone

/** Asks for the password over the page. Resolves true once signed in again as the same person, false if given up. */
export function signInAgain() {
  asking ??= import('./signin.js').then((module) => module.signIn(csrfMeta)).finally(() => { asking = null; });
  return asking;
}

/** The login of this browser changed in another tab (same person, same place: take its new token; else the page is stale). */
async function tokenAgain() {
  const answer = await fetch('/api/session', { credentials: 'same-origin', headers: { Accept: 'application/json' } }).catch(() => null);
  if (!answer?.ok) return false;
  const { me, csrf: token } = await answer.json();
  if (me.membership !== document.body.dataset.me || !csrfMeta || token === csrfMeta.content) return false;
  csrfMeta.content = token;
  return true;
}

const needsSignIn = (problem) => problem.status === 401 && problem.code !== 'wrong_login';

/**
 * Calls the server. `body`: plain value → JSON; FormData, Blob, ArrayBuffer → as they are.
 * Resolves to the JSON value, or null when the answer has no JSON. Throws Problem.
 * options: signal, headers, signIn (false: do not ask for the password), raw (true: the Response itself).
 */
export async function api(method, url, body, options = {}) {
  const headers = { Accept: 'application/json', ...options.headers };
  let payload = body;
  const plain = body !== undefined && body !== null && !(body instanceof FormData || body instanceof Blob || body instanceof ArrayBuffer || ArrayBuffer.isView(body));
  if (plain) {
    headers['Content-Type'] = 'application/json';
    payload = JSON.stringify(body);
  }
  for (;;) {
    let answer;
    try {
      answer = await fetch(url, {
        method, body: payload ?? undefined, signal: options.signal, credentials: 'same-origin', keepalive: options.keepalive ?? false,
        headers: method === 'GET' ? headers : { ...headers, 'X-CSRF-Token': csrf() },
      });
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      throw offline();
    }
    if (answer.ok) {
      if (options.raw) return answer;
      return (answer.headers.get('Content-Type') ?? '').includes('json') ? answer.json() : null;
    }
    const problem = await problemOf(answer);
    if (problem.code === 'csrf' && method !== 'GET' && (await tokenAgain())) continue;
    if (!needsSignIn(problem) || options.signIn === false || !(await signInAgain())) throw problem;
  }
}

/**
 * Sends one body and tells how far it is: onProgress(sent, total) in bytes. Same refusals and sign-in as `api`.
 * options: method (POST), headers, signal, onProgress.
 */
export async function upload(url, body, options = {}) {
  for (;;) {
    try {
      return await send(url, body, options);
    } catch (problem) {
      if (!(problem instanceof Problem) || !needsSignIn(problem) || !(await signInAgain())) throw problem;
    }
  }
}

function send(url, body, { method = 'POST', headers = {}, signal, onProgress }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, url);
    request.setRequestHeader('Accept', 'application/json');
    request.setRequestHeader('X-CSRF-Token', csrf());
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    if (onProgress) request.upload.onprogress = (event) => onProgress(event.loaded, event.lengthComputable ? event.total : 0);
    const stop = () => request.abort();
    signal?.addEventListener('abort', stop, { once: true });
    request.onloadend = () => signal?.removeEventListener('abort', stop);
    request.onabort = () => reject(new DOMException('aborted', 'AbortError'));
    request.onerror = () => reject(offline());
    request.onload = () => {
      let value = null;
      try {
        value = request.responseText ? JSON.parse(request.responseText) : null;
      } catch { /* not JSON: the status alone speaks */ }
      if (request.status >= 200 && request.status < 300) resolve(value);
      else reject(new Problem({ title: t('没有传成功'), detail: t('服务器没有收下这个文件。请再试一次。'), code: `http_${request.status}`, ...value, status: request.status }));
    };
    if (signal?.aborted) request.abort();
    else request.send(body);
  });
}

/** The values of `<script type="application/json" id="page-data">`, or {}. */
export function pageData(id = 'page-data') {
  const element = document.getElementById(id);
  return element ? JSON.parse(element.textContent) : {};
}
