// The value of this expression is what a reader would stumble over: texts that are not within the window, that overlap, that stand out too
// little against what is behind them, and numbers of a column whose digits differ in width.
(() => {
  const leaves = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n; (n = walker.nextNode());) {
    if (!n.data.trim() || n.parentElement.closest('script, style, noscript') || !n.parentElement.checkVisibility()) continue;
    const range = document.createRange();
    range.selectNodeContents(n);
    for (const box of range.getClientRects()) if (box.width > 0) leaves.push({ text: n.data.trim(), box, of: n.parentElement });
  }

  const rgb = colour => colour.match(/[\d.]+/g).map(Number);
  const light = colour => {
    const [r, g, b] = rgb(colour).map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor, [, , , alpha = 1] = rgb(colour);
      if (alpha === 1) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const contrast = (a, b) => (Math.max(light(a), light(b)) + .05) / (Math.min(light(a), light(b)) + .05);

  const width = document.documentElement.clientWidth;
  const found = { Seen: leaves.length, Outside: [], Overlapping: [], LowTone: [], Uneven: [], Width: width, Scroll: document.documentElement.scrollWidth };
  leaves.forEach(({ text, box, of }, i) => {
    if (box.left < 0 || box.right > width + .5 || box.top + scrollY < 0) found.Outside.push(text);
    const panel = of.closest('section');
    if (panel && (box.right > panel.getBoundingClientRect().right || box.left < panel.getBoundingClientRect().left)) found.Outside.push(text + ' (its panel)');
    const c = contrast(getComputedStyle(of).color, behind(of));
    if (c < 4.5) found.LowTone.push(`${text}: ${c.toFixed(2)}`);
    for (const other of leaves.slice(i + 1)) {
      const across = Math.min(box.right, other.box.right) - Math.max(box.left, other.box.left);
      const down = Math.min(box.bottom, other.box.bottom) - Math.max(box.top, other.box.top);
      // The boxes of two lines of a text may touch; letters do not.
      if (across > 1 && down > Math.min(box.height, other.box.height) / 3) found.Overlapping.push(`${text} | ${other.text}`);
    }
  });
  // The lines of plots stand out, too.
  for (const path of document.querySelectorAll('.card path')) {
    const c = contrast(getComputedStyle(path).stroke, behind(path));
    if (c < 3) found.LowTone.push(`a line: ${c.toFixed(2)}`);
  }
  for (const e of document.querySelectorAll('dd, td')) {
    if (!getComputedStyle(e).fontVariantNumeric.includes('tabular-nums')) found.Uneven.push(e.textContent);
  }
  return found;
})()
