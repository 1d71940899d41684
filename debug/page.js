'use strict';
(() => {
  const every = 1000, shown = 120, recent = 10, smooth = 3; // milliseconds; seconds
  const find = (selector, within = document) => within.querySelector(selector);
  const name = document.body.dataset.name;
  const space = '\u00a0';

  // Numbers, written as format.go writes them.

  const whole = n => Math.round(n).toString().replace(/\B(?=(\d{3})+$)/g, ',');
  const number = v => Number.isInteger(v) || v >= 99.95 ? whole(v) : v.toFixed(v < 9.995 ? 2 : 1);
  function duration(ns) {
    if (ns <= 0) return '0';
    for (const [below, unit, size] of [[1e3, 'ns', 1], [1e6, 'µs', 1e3], [1e9, 'ms', 1e6], [120e9, 's', 1e9], [7200e9, 'min', 60e9]]) {
      if (ns < below) return number(ns / size) + space + unit;
    }
    return number(ns / 3600e9) + space + 'h';
  }

  // Differences of two reports. A report that is not there yet, or nothing to tell of, is null.

  function quantile(before, after, share) {
    const old = new Map(before.buckets);
    const counts = after.buckets.map(([most, n]) => [most, n - (old.get(most) || 0)]);
    const n = counts.reduce((sum, [, c]) => sum + c, 0);
    if (n === 0) return null;
    let want = Math.min(Math.max(Math.floor(share * n + .5), 1), n);
    for (const [most, c] of counts) if ((want -= c) <= 0) return most;
  }
  function mean(before, after) {
    const n = after.count - before.count;
    return n === 0 ? null : (after.sum - before.sum) / n;
  }
  const rate = (before, after, of) => (of(after) - of(before)) / (after.seconds - before.seconds);

  // The same cards as cardsOf has in report.go: a function for each figure, and how its values are written.
  const times = of => ({ write: duration, figures: [.5, .99].map(share => (a, b) => quantile(a[of], b[of], share)) });
  const cards = {
    rate: { write: number, figures: [(a, b) => rate(a, b, r => r.calls), (a, b) => rate(a, b, r => r.groups)] },
    sizes: { write: number, figures: [(a, b) => mean(a.sizes, b.sizes), (a, b) => quantile(a.sizes, b.sizes, .99)] },
    latencies: times('latencies'),
    waits: times('waits'),
  };

  let reports = []; // the oldest first
  const now = () => reports[reports.length - 1];

  // since returns the newest report that is at least some seconds older than the one at an index, or the oldest.
  function since(seconds, index = reports.length - 1) {
    let i = index;
    while (i > 0 && reports[index].seconds - reports[i].seconds < seconds - .5) i--;
    return i === index ? null : reports[i];
  }

  // What is put into the page. A text that has not changed is left alone, so that it can be selected.

  function put(element, text) { if (element.textContent !== text) element.textContent = text; }
  function make(tag, className, ...children) {
    const e = document.createElement(tag);
    e.className = className;
    e.append(...children);
    return e;
  }
  // match has parent hold an element for each item, in their order, by their keys.
  function match(parent, items, key, attribute, create, update) {
    const old = new Map([...parent.children].map(e => [e.dataset[attribute], e]));
    items.forEach((item, i) => {
      let e = old.get(key(item));
      old.delete(key(item));
      if (!e) {
        e = create(item);
        e.dataset[attribute] = key(item);
      }
      if (parent.children[i] !== e) parent.insertBefore(e, parent.children[i] || null);
      update(e, item);
    });
    for (const e of old.values()) e.remove();
  }
  function putRate(element, perSecond) {
    element.classList.toggle('moves', perSecond > 0);
    put(element, perSecond === null || perSecond === undefined ? '' : number(perSecond) + '/s');
  }

  function putBlocks(parent, list, before) {
    const old = new Map((before || []).map(b => [b.id, b]));
    match(parent, list, b => b.id, 'id',
      () => make('section', 'block', make('h3', '', make('span', ''), make('small', '')), make('dl', ''), make('p', 'note')),
      (e, block) => {
        put(find('h3 span', e), block.title);
        put(find('h3 small', e), block.tag || '');
        put(find('.note', e), block.note || '');
        const counts = new Map(((old.get(block.id) || {}).figures || []).map(f => [f.label, f.count]));
        e.classList.toggle('rated', block.figures.some(f => f.count !== undefined));
        const dl = find('dl', e);
        for (const div of dl.children) div.dataset.label = div.dataset.label || find('dt', div).textContent;
        match(dl, block.figures, f => f.label, 'label',
          () => make('div', '', make('dt', ''), make('dd', ''), make('dd', 'now scripted')),
          (div, f) => {
            div.classList.toggle('bad', !!f.bad);
            put(find('dt', div), f.label);
            put(find('dd', div), f.value);
            putRate(find('.now', div), f.count === undefined || !old.size ? null : (f.count - (counts.get(f.label) || 0)) / span());
          });
      });
  }
  function putTable(table, before) {
    const e = document.getElementById(table.id);
    const rows = table.rows || [];
    find('table', e).hidden = rows.length === 0;
    find('.empty', e).hidden = rows.length > 0;
    put(find('.empty', e), table.empty);
    const counts = before && new Map((before.rows || []).map(r => [r.key, r.count]));
    match(find('tbody', e), rows, r => r.key, 'key',
      r => {
        const th = make('th', '', make('span', ''));
        th.scope = 'row';
        if (r.about) th.append(' ', make('small', ''));
        return make('tr', '', th, ...r.cells.map(() => make('td', '')), make('td', 'now scripted'));
      },
      (tr, r) => {
        put(find('th span', tr), r.label);
        if (r.about) put(find('th small', tr), r.about);
        r.cells.forEach((c, i) => put(tr.children[i + 1], c));
        // A text that has come back, or was not among the slowest before, has no rate.
        const known = counts && (table.id !== 'texts' || counts.has(r.key));
        const more = known ? r.count - (counts.get(r.key) || 0) : null;
        putRate(find('.now', tr), more === null || more < 0 ? null : more / span());
      });
  }
  const span = () => now().seconds - since(recent).seconds;

  // Plots.

  function plot(card, spec) {
    const end = now().seconds;
    let top = 0;
    const lines = spec.figures.map(figure => {
      const points = [];
      for (let i = 1; i < reports.length; i++) {
        const from = since(smooth, i);
        const gap = reports[i].seconds - reports[i - 1].seconds > 3 * every / 1000;
        const v = from && !gap ? figure(from, reports[i]) : null;
        points.push(v === null ? null : [shown - (end - reports[i].seconds), v]);
        if (v > top) top = v;
      }
      return points;
    });
    const paths = lines.map(points => {
      let d = '', pen = 'M';
      for (const p of points) {
        if (p) d += pen + (p[0] * 2).toFixed(1) + ' ' + (62 - 58 * p[1] / (top || 1)).toFixed(1);
        pen = p ? 'L' : 'M';
      }
      return d;
    });
    const svg = find('svg', card);
    while (svg.children.length < paths.length) svg.append(document.createElementNS('http://www.w3.org/2000/svg', 'path'));
    paths.forEach((d, i) => svg.children[i].setAttribute('d', d));
    put(find('.top', card), top ? 'max ' + spec.write(top) : '');
  }
  function putCards() {
    const before = since(recent);
    for (const id in cards) {
      const card = document.getElementById(id);
      const values = card.querySelectorAll('dd');
      cards[id].figures.forEach((figure, i) => {
        const v = figure(before, now());
        put(values[i], v === null ? '–' : cards[id].write(v));
      });
      plot(card, cards[id]);
    }
  }

  function take(report) {
    put(find('#error'), report.error || '');
    find('#error').hidden = !report.error;
    if (report.error) return;
    if (!find('#rate')) return location.reload(); // the page came without numbers, and now has some
    if (reports.length && now().process !== report.process) reports = [];
    if (!reports.length || report.seconds > now().seconds) reports.push(report);
    while (now().seconds - reports[0].seconds > shown + recent) reports.shift();
    const before = since(recent);
    if (!before) return;
    putCards();
    putBlocks(find('#blocks'), report.blocks, before.blocks);
    putBlocks(find('#commands'), report.commands, before.commands);
    find('#kinds').hidden = report.commands.length === 0;
    report.tables.forEach((t, i) => putTable(t, before.tables[i]));
  }

  // Polling: one request at a time, none while nobody looks.

  let paused = false, answered = performance.now();
  const status = find('#status'), pause = find('#pause');
  function tell() {
    const late = Math.round((performance.now() - answered) / 1000);
    const silent = !paused && late > 3;
    status.classList.toggle('late', silent);
    put(status, paused ? 'paused' : silent ? `no answer for ${late}${space}s` : 'live, the last 10' + space + 's');
  }
  async function ask() {
    try {
      const answer = await fetch('?' + new URLSearchParams({ format: 'json', db: name }), { cache: 'no-store', signal: AbortSignal.timeout(5000) });
      return await answer.json();
    } catch {
      return null; // no answer, or another's: a page that asks for a password
    }
  }
  async function poll() {
    const report = paused || document.hidden ? null : await ask();
    if (report || paused || document.hidden) answered = performance.now();
    if (report && !paused) take(report);
    tell();
  }
  async function live() {
    try {
      await poll();
    } finally {
      setTimeout(live, every);
    }
  }
  pause.addEventListener('click', () => {
    paused = !paused;
    pause.setAttribute('aria-pressed', paused);
    put(pause, paused ? 'Resume' : 'Pause');
    tell();
  });
  document.documentElement.classList.add('live');
  tell();
  live();
})();
