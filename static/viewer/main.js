import * as core from '@cornerstonejs/core';
import * as tools from '@cornerstonejs/tools';
import * as loader from '@cornerstonejs/dicom-image-loader';

export function mountViewer() {
  return [core, tools, loader];
}
