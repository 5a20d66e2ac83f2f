// What the viewer asks of the archive (DICOMweb, PS3.18) and how it says what went wrong.

/** A request that failed; `reason` is 'session', 'denied', 'missing', 'network' or 'server'. */
export class ArchiveError extends Error {
  constructor(reason, status = 0) {
    super(`archive: ${reason}`);
    this.name = 'ArchiveError';
    this.reason = reason;
    this.status = status;
  }
}

/** The reason behind any failure of a request, including those the image loader reports (it rejects with the XHR). */
export function reasonOf(error) {
  if (error instanceof ArchiveError) return error.reason;
  const status = error?.status ?? error?.error?.status ?? error?.request?.status;
  return status === undefined ? 'image' : reasonOfStatus(status);
}

/** The reason that an HTTP status stands for. */
export function reasonOfStatus(status) {
  if (status === 0) return 'network';
  if (status === 401) return 'session';
  if (status === 403) return 'denied';
  if (status === 404 || status === 410) return 'missing';
  return 'server';
}

/** One sentence for the user: what happened and what to do now. */
export function explain(reason, t) {
  switch (reason) {
    case 'session':
      return t('登录已过期，请重新登录后重试。');
    case 'denied':
    case 'missing':
      return t('找不到这份影像，或您没有查看它的权限。');
    case 'network':
      return t('网络中断，影像没有取到。请检查网络后重试。');
    case 'image':
      return t('这幅图像无法显示，数据可能已损坏。可以重试或查看其他图像。');
    default:
      return t('影像服务暂时没有响应。请稍后重试。');
  }
}

/** The DICOMweb addresses of one study. */
export class StudyArchive {
  constructor(baseUrl, studyUid) {
    this.study = `${baseUrl}/studies/${studyUid}`;
    this.studyUid = studyUid;
  }

  seriesUrl(seriesUid) {
    return `${this.study}/series/${seriesUid}`;
  }

  instanceUrl(seriesUid, sopUid) {
    return `${this.seriesUrl(seriesUid)}/instances/${sopUid}`;
  }

  thumbnailUrl(seriesUid) {
    return `${this.seriesUrl(seriesUid)}/thumbnail`;
  }

  waveformUrl(seriesUid, sopUid) {
    return `${this.instanceUrl(seriesUid, sopUid)}/waveform`;
  }

  /** PS3.18 §10.4.1.1.2: an encapsulated document's rendered form is the document itself. */
  documentUrl(seriesUid, sopUid) {
    return `${this.instanceUrl(seriesUid, sopUid)}/rendered`;
  }

  frameUrl(seriesUid, sopUid, frame) {
    return `${this.instanceUrl(seriesUid, sopUid)}/frames/${frame}`;
  }

  /** QIDO-RS series of the study, as DICOM JSON. */
  async series(signal) {
    return (await this.#json(`${this.study}/series?includefield=0008103E,00201209`, signal)) ?? [];
  }

  /** WADO-RS metadata of a series' instances, as DICOM JSON. */
  async metadata(seriesUid, signal) {
    return (await this.#json(`${this.seriesUrl(seriesUid)}/metadata`, signal)) ?? [];
  }

  async #json(url, signal) {
    let response;
    try {
      response = await fetch(url, { headers: { Accept: 'application/dicom+json' }, signal });
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      throw new ArchiveError('network');
    }
    if (response.status === 204) return null;
    if (!response.ok) throw new ArchiveError(reasonOfStatus(response.status), response.status);
    try {
      return await response.json();
    } catch {
      throw new ArchiveError('server', response.status);
    }
  }
}
