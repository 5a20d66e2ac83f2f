// Windows for CT in Hounsfield units, as readers know them; the digit is the place in this list.
export const PRESETS = [
  { name: '肺窗', width: 1500, center: -600 },
  { name: '骨窗', width: 2000, center: 500 },
  { name: '脑窗', width: 80, center: 40 },
  { name: '腹窗', width: 350, center: 50 },
  { name: '软组织窗', width: 400, center: 40, wide: true },
  { name: '纵隔窗', width: 350, center: 40, wide: true },
];
