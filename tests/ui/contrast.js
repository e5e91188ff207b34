// Every text whose contrast with the nearest background is below 4.5, as WCAG 2 measures it.
const channels = (color) => (color.match(/[\d.]+/g) ?? []).map(Number);
const luminance = ([r, g, b]) => {
  const [R, G, B] = [r, g, b].map((of) => of / 255).map((of) => (of <= 0.03928 ? of / 12.92 : ((of + 0.055) / 1.055) ** 2.4));
  return 0.2126 * R + 0.7152 * G + 0.0722 * B;
};
const behind = (node) => {
  for (let it = node; it; it = it.parentElement) {
    const color = channels(getComputedStyle(it).backgroundColor);
    if (color.length === 3 || color[3] === 1) return color;
  }
  return [255, 255, 255];
};
const found = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const node = walk.currentNode.parentElement;
  const isShown = walk.currentNode.textContent.trim() !== "" && node.getClientRects().length > 0 && !node.closest("svg, .visually-hidden, script");
  if (!isShown) continue;
  const [light, dark] = [luminance(channels(getComputedStyle(node).color)), luminance(behind(node))].sort((a, b) => b - a);
  const contrast = (light + 0.05) / (dark + 0.05);
  if (contrast < 4.5) found.push(`${walk.currentNode.textContent.trim().slice(0, 40)} (${contrast.toFixed(2)})`);
}
return found;
