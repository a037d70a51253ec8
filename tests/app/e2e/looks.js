// Text whose contrast with what lies behind it is under 4.5 (3 where it is large), and controls without a name.
const parse = (colour) => {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
};
const luminance = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const over = (top, under) => [0, 1, 2].map((k) => top[3] * top[k] + (1 - top[3]) * under[k]);
const behind = (element) => {
  const layers = [];
  for (let at = element; at; at = at.parentElement) layers.unshift(parse(getComputedStyle(at).backgroundColor));
  return layers.reduce((under, top) => over(top, under), [255, 255, 255]);
};
const seen = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && !element.closest(".hidden, .skip");
const poor = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const element = node.parentElement;
  if (!node.data.trim() || !seen(element) || ["SCRIPT", "NOSCRIPT"].includes(element.tagName)) continue;
  const style = getComputedStyle(element);
  const under = behind(element);
  const [x, y] = [luminance(over(parse(style.color), under)), luminance(under)].sort((p, q) => q - p);
  const contrast = (x + 0.05) / (y + 0.05);
  if (contrast < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) poor.push(`${node.data.trim()}: ${contrast.toFixed(2)}`);
}
const named = (element) =>
  element.getAttribute("aria-label") || element.labels?.length || element.innerText?.trim() || element.getAttribute("aria-labelledby");
const unnamed = [...document.querySelectorAll("button, input, select, progress, canvas, [role=application]")]
  .filter((element) => seen(element) && !named(element) && !element.closest("[aria-hidden=true]") && element.ariaHidden !== "true")
  .map((element) => element.outerHTML.slice(0, 120));
return { poor, unnamed, wider: document.documentElement.scrollWidth - innerWidth };
