/** Sentences and names of the library that the page can say in Chinese; others stay in English. */

import { language } from "./text";
import type { Metric, Model } from "./types";

const MODELS: Record<string, string> = {
  medical: "MRI 与 CT、PET 或 SPECT",
  infrared: "可见光与红外",
  "dif-fusion": "可见光与红外，直接融合颜色",
};

const METRICS: Record<string, string> = {
  EN: "信息熵",
  SD: "标准差",
  SF: "空间频率",
  AG: "平均梯度",
  MI: "互信息",
  NMI: "归一化互信息",
  MSE: "均方误差",
  RMSE: "均方根误差",
  PSNR: "峰值信噪比",
  CC: "与源图像的相关系数",
  SCD: "差异相关和",
  VIF: "视觉信息保真度",
  VIFF: "融合视觉信息保真度",
  Qabf: "边缘保持度",
  Nabf: "融合伪影",
  SSIM: "结构相似度",
  "MS-SSIM": "多尺度结构相似度",
  CE: "交叉熵",
  FMI: "特征互信息",
  EI: "边缘强度",
  NCIE: "非线性相关信息熵",
  SCC: "空间相关系数",
  UQI: "通用图像质量指数",
  Q: "融合质量指数",
  Qw: "加权融合质量指数",
  Qe: "边缘融合质量指数",
  Qy: "Yang 等的相似度",
  Qcb: "Chen–Blum 对比度保持度",
  Qcv: "Chen–Varshney 可见误差",
  function: "与摄取的秩相关",
  CIEDE2000: "摄取处的色差",
};

const WARNINGS: [RegExp, string][] = [
  [/^the fused picture hardly follows the functional source's uptake \(Spearman (.+?)\); read that source beside it$/, "融合图像几乎不反映功能源的摄取（Spearman $1）；请对照该源阅读。"],
  [/^at (?:slice (\d+), )?row (\d+), column (\d+) \((\d+) pixels wide\) more uptake looks darker \(Spearman (.+?)\)$/, "第 $2 行、第 $3 列处（宽 $4 像素）摄取越高反而越暗（Spearman $5）。"],
  [/^the sources seem misaligned, by (.+?) (\S+) and (.+?)°; .*$/, "两个源似乎错位 $1 $2、$3°；融合图像中相邻的内容未必属于同一处，可先对齐再融合。"],
  [/^(.+?%) of the picture shows what neither source does; see the map of unsupported structure$/, "图像的 $1 显示了两源都没有的内容；见无依据结构图。"],
];

const chinese = () => language.value === "zh";

export const modelTitle = ({ name, title }: Model): string => (chinese() && MODELS[name]) || title;
const UNITS: Record<string, string> = { "grey level": "灰阶", "grey level²": "灰阶²", bit: "比特", nat: "奈特" };

export const unitName = (unit: string): string => (chinese() && UNITS[unit]) || unit;
export const metricName = ({ symbol, name }: Metric): string => (chinese() && METRICS[symbol]) || name.charAt(0).toUpperCase() + name.slice(1);

/** A warning with a capital and a full stop; `lang` tells screen readers what it is read in. */
export function warning(text: string): { text: string; lang: string } {
  if (chinese()) {
    for (const [pattern, line] of WARNINGS) {
      const found = pattern.exec(text);
      if (!found) continue;
      const slice = pattern.source.startsWith("^at") && found[1] ? `第 ${found[1]} 层，` : "";
      return { text: slice + text.replace(pattern, line), lang: "zh" };
    }
  } else {
    // In the page aligning is a switch, not an option of a command.
    text = text.replace(/: --register rigid aligns them$/, "; align them and fuse again");
  }
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return { text: /[.!?]$/.test(first) ? first : `${first}.`, lang: "en" };
}
