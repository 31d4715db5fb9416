// SPDX-License-Identifier: GPL-3.0-or-later
// SPDX-FileCopyrightText: rebootless.ksplice contributors
//
// The script of report.html, which is put into the page: filters, tables, and the fragment of the
// address, which holds what is shown. Texts of hosts become text nodes and attributes, and never
// markup.
(function () {
  'use strict';

  // ---- the data: rows are places of values, see data() in plugin_utils/page/html.py ----

  const data = JSON.parse(document.getElementById('data').textContent);
  // What the page itself knows of a row, whatever keys it has.
  const PLACES = Symbol('places');
  const hosts = data.rows.map(function (places) {
    const row = Object.create(null);
    row[PLACES] = places;
    places.forEach((place, at) => { if (place >= 0) row[data.keys[at]] = data.values[place]; });
    return row;
  });
  const byName = new Map(hosts.map((row) => [row.name, row]));
  const $ = (id) => document.getElementById(id);
  const form = $('filters');
  const count = new Intl.NumberFormat('en-US').format;
  const many = (number, word) => count(number) + ' ' + word + (number === 1 ? '' : 's');

  // An element: attributes by name, listeners by onName, children as nodes or text.
  function el(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
      else if (value !== false && value !== null && value !== undefined) made.setAttribute(name,
        value === true ? '' : value);
    }
    made.append(...children.flat(Infinity).filter((child) => child !== null
      && child !== undefined));
    return made;
  }

  // ---- what a value looks like: what is not known is never shown as none ----

  const UNKNOWN_IF_NULL = new Set(['kernel_booted', 'kernel_before', 'kernel_after',
    'kernel_on_disk', 'host_id',
    'remaining', 'cves_open', 'self_update', 'checked_at']);
  const TIMES = new Set(['started', 'ended', 'checked_at', 'behind_since']);
  const unknown = () => el('span', { class: 'unknown' }, 'unknown');
  const none = (word) => el('span', { class: 'none' }, word || '–');
  const small = (text) => (text ? [' ', el('small', {}, text)] : null);
  const foreign = (text) => el('bdi', {}, text);
  const time = (text) => text.replace('T', ' ').replace(/(\.\d+)?Z$/, '');

  function isUnknown(row, key) {
    if (row[key] === undefined) return true;
    // Without pending updates there is nothing that it could be behind with.
    if (key === 'behind_since') return row[key] === null && !(row.remaining
      && !row.remaining.length);
    return row[key] === null && UNKNOWN_IF_NULL.has(key);
  }

  function shown(row, key) {
    const value = row[key];
    if (isUnknown(row, key)) return unknown();
    if (value === null || value === '' || (Array.isArray(value)
      && !value.length)) return none(Array.isArray(value) ? 'none' : '–');
    if (typeof value === 'boolean') return value ? 'yes' : 'no';
    if (typeof value === 'number') return count(value);
    if (key === 'verdict') return el('span', { class: 'verdict t-' + value }, value);
    if (TIMES.has(key)) return time(value);
    if (key === 'steps') return stepTable(value);
    if (Array.isArray(value)) return foreign(value.map((one) => (typeof one === 'string' ? one
      : JSON.stringify(one))).join(', '));
    return foreign(typeof value === 'string' ? value : JSON.stringify(value));
  }

  function stepTable(steps) {
    const heads = ['Step', 'after, s', 'took, s'].map((text, at) => el('th',
      { scope: 'col', class: at ? 'n' : null }, text));
    const seconds = (value) => el('td', { class: 'n' }, typeof value === 'number' ? value.toFixed(1)
      : unknown());
    return el('table', {}, el('caption', {}, 'Seconds since the host was claimed'),
      el('thead', {}, el('tr', {}, heads)), el('tbody', {},
      steps.map((step) => el('tr', {}, el('td', {}, foreign(String(step.name))),
        seconds(step.after), seconds(step.seconds)))));
  }

  // ---- columns of the host table ----

  const number = (row, key) => (isUnknown(row, key) ? unknown() : count(row[key].length));
  const size = (row, key) => (row[key] ? row[key].length : null);
  // A column: key, label, what it shows, what it is sorted by (null: last), its class.
  function column(key, label, options) {
    return Object.assign({ key, label, draw: (row) => shown(row, key), by: (row) => row[key],
      kind: '' }, options);
  }
  const numeric = { draw: null, by: null, kind: 'n' };
  const counted = (key, label) => column(key, label, Object.assign({}, numeric,
    { draw: (row) => number(row, key), by: (row) => size(row, key) }));
  const listed = (key, label) => column(key, label,
    { by: (row) => (row[key] && row[key].length ? row[key].join(' ') : null) });
  const kernel = (key, label) => column(key, label, { kind: 'k mono' });
  const COLUMNS = [
    column('name', 'Host', { kind: 'name', draw: detailsButton }),
    column('verdict', 'Verdict', { by: (row) => data.verdicts.indexOf(row.verdict) }),
    column('groups', 'Group', { draw: (row) => (row.groups.length
      ? [foreign(row.groups.join(', ')), small(row.role)] : none()),
      by: (row) => row.groups.join(' ') || null }),
    column('wave', 'Wave', { kind: 'n', draw: (row) => (row.wave
      ? [String(row.wave), small(row.canary && 'canary')] : none()) }),
    column('kernel_after', 'Effective kernel', { kind: 'k mono', draw: kernels }),
    counted('installed', 'Installed'), counted('remaining', 'Pending'),
    counted('cves_fixed', 'CVEs fixed'), counted('cves_open', 'CVEs open'),
    column('reason', 'Why', { kind: 'why' }),
    counted('removed', 'Removed'),
    column('reason_code', 'Reason code'), column('attention', 'Needs attention'),
    column('role', 'Role'), column('stage', 'Stage'),
    column('canary', 'Canary'), column('alias_of', 'Alias of'),
    column('host_id', 'Machine', { kind: 'mono' }),
    kernel('kernel_booted', 'Booted kernel'), kernel('kernel_before', 'Kernel before'),
    kernel('kernel_on_disk', 'Kernel on disk'),
    counted('deferred', 'Deferred'), counted('rolled_back', 'Rolled back'),
    listed('drained', 'Drained from'), listed('restored', 'Restored'),
    column('still_drained', 'Still drained'),
    listed('self_update', 'Updates itself by'), column('behind_since', 'Behind since'),
    column('behind_days', 'Days behind', { kind: 'n' }),
    column('checked_at', 'Service asked'), column('checked_age', 'Seconds before the survey',
      { kind: 'n' }),
    column('uuid', 'UUID at the service', { kind: 'mono' }),
    column('started', 'Claimed'), column('ended', 'Released'),
  ];
  const KNOWN = new Map(COLUMNS.map((one) => [one.key, one]));
  const USUAL = COLUMNS.slice(0, 10).map((one) => one.key);

  function kernels(row) {
    const after = shown(row, 'kernel_after');
    return row.kernel_before === row.kernel_after ? after : [shown(row, 'kernel_before'), el('br'),
      '→ ', after];
  }

  function detailsButton(row) {
    const open = state.host === row.name;
    return el('button', { type: 'button', 'aria-expanded': String(open),
      'data-focus': 'host ' + row.name,
      onclick: () => go({ host: open ? '' : row.name }) }, foreign(row.name));
  }

  // Everything that the record has of a host, also what this page has no label for.
  function details(row) {
    const labels = { installed: 'Installed', removed: 'Removed', remaining: 'Pending',
      cves_fixed: 'CVEs fixed', cves_open: 'CVEs open',
      failures: 'Failures', lease: 'Lease found', run: 'Run', steps: 'Steps', groups: 'Groups',
        kernel_after: 'Kernel after', verdict: 'Verdict' };
    const long = ['reason', 'installed', 'removed', 'remaining', 'cves_fixed', 'cves_open',
      'deferred', 'failures', 'lease', 'steps'];
    const keys = data.keys.filter((key) => key in row && key !== 'name').sort((a,
      b) => long.indexOf(a) - long.indexOf(b));
    return el('dl', {}, keys.map(function (key) {
      const kind = long.includes(key) ? 'long' : null;
      const label = labels[key] || (KNOWN.get(key) || {}).label || key;
      return [el('dt', { class: kind }, label), el('dd', { class: kind }, shown(row, key))];
    }));
  }

  // ---- a table with sorting and paging ----

  const compare = new Intl.Collator('en', { numeric: true }).compare;
  const SIZES = [10, 20, 25, 50, 100, 250, 1000];
  let printing = false;

  function inOrder(rows, by, descending) {
    const keyed = rows.map((row) => [by(row), row]);
    const missing = (value) => value === null || value === undefined;
    keyed.sort(function ([a], [b]) {
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      const order = typeof a === 'string' ? compare(a, b) : a - b;
      return descending ? -order : order;
    });
    return keyed.map((one) => one[1]);
  }

  // The pages of a table. It is made once, and its select touched only where it changes: for that
  // the browser lays out the whole table, even where nobody sees it.
  function Pager(caption, change) {
    const to = {};
    const step = (name) => (to[name] = el('button', { type: 'button',
      onclick: () => change({ page: Number(to[name].dataset.page) }) }, name));
    const place = el('span', { class: 'place' });
    const choice = el('select', { onchange: () => change({ size: Number(choice.value), page: 1 }) },
      SIZES.map((one) => el('option', {}, String(one))));
    const nav = el('nav', { class: 'pager', 'aria-label': 'Pages: ' + caption }, step('First'),
      step('Previous'), place, step('Next'), step('Last'),
      el('label', {}, 'Rows on a page ', choice));

    function show(found, page, pages, size) {
      const pagesOf = { First: 1, Previous: page - 1, Next: page + 1, Last: pages };
      const focused = document.activeElement;
      for (const [name, one] of Object.entries(pagesOf)) {
        to[name].dataset.page = one;
        to[name].disabled = one < 1 || one > pages || one === page;
      }
      // A button that leads nowhere any more has no focus to keep.
      if (nav.contains(focused) && focused.disabled) (page > 1 ? to.Previous
        : to.Next).focus({ preventScroll: true });
      place.textContent = count(found ? (page - 1) * size + 1
        : 0) + '–' + count(Math.min(found, page * size)) + ' of ' + count(found);
      if (choice.value !== String(size)) choice.value = size;
      nav.hidden = found <= SIZES[0];
    }
    return { nav, show };
  }

  // box: where it goes; caption; rows: all of them; change: told what somebody wants to see, as
  // {sort}, {page} or {size}.
  function Table(box, caption, rows, change) {
    const orders = new Map();
    const wide = el('div', { class: 'wide', 'data-caption': caption });
    const pager = Pager(caption, change);
    box.replaceChildren(wide, pager.nav);
    new ResizeObserver(reachable).observe(wide);

    function sorted(columns, sort) {
      if (!orders.has(sort)) {
        const key = sort.replace(/^-/, '');
        orders.set(sort, inOrder(rows, columns.find((one) => one.key === key).by, sort !== key));
      }
      return orders.get(sort);
    }

    function head(columns, sort) {
      return el('tr', { role: 'row' }, columns.map(function (one) {
        const direction = sort === one.key ? 'ascending' : sort === '-' + one.key ? 'descending'
          : null;
        const next = direction === 'ascending' ? '-' + one.key : one.key;
        return el('th', { scope: 'col', role: 'columnheader', class: one.kind || null,
          'aria-sort': direction },
          printing ? one.label : el('button', { type: 'button',
            'data-focus': box.id + ' sort ' + one.key,
            onclick: () => change({ sort: next, page: 1 }) }, one.label));
      }));
    }

    function line(row, columns, open) {
      const cells = columns.map(function (one) {
        const content = el('div', {}, one.draw(row));
        const kind = one.kind + (content.textContent === '–' ? ' empty' : '');
        return el('td', { role: 'cell', class: kind || null, 'data-label': one.label }, content);
      });
      const made = [el('tr', { role: 'row', class: row.attention ? 'attention' : null }, cells)];
      if (open && row.name === open) {
        made.push(el('tr', { role: 'row', class: 'details' },
          el('td', { role: 'cell', colspan: columns.length }, details(row))));
      }
      return made;
    }

    function body(some, view) {
      const lines = some.map((row) => line(row, view.columns, view.host));
      const nothing = el('tr', { role: 'row' },
        el('td', { role: 'cell', colspan: view.columns.length }, 'Nothing is found.'));
      return el('table', { role: 'table', class: 'cards' }, el('caption', {}, caption),
        el('thead', { role: 'rowgroup' }, head(view.columns, view.sort)),
        el('tbody', { role: 'rowgroup' }, lines.length ? lines : nothing));
    }

    // Draws it; match: which rows are shown (without it: all). Gives the rows and the page.
    return function (view, match) {
      const found = match ? sorted(view.all, view.sort).filter(match) : sorted(view.all, view.sort);
      const pages = Math.max(1, Math.ceil(found.length / view.size));
      const at = view.host ? found.findIndex((row) => row.name === view.host) : -1;
      const page = at >= 0 && !view.page ? Math.floor(at / view.size) + 1
        : Math.min(Math.max(1, view.page || 1), pages);
      // On paper is all that is found, unless it is folded away.
      const whole = printing && !box.closest('details:not([open])');
      const some = whole ? found : found.slice((page - 1) * view.size, page * view.size);
      const focus = document.activeElement && document.activeElement.getAttribute('data-focus');
      wide.replaceChildren(body(some, view));
      pager.show(found.length, page, pages, view.size);
      const again = focus && [...wide.querySelectorAll('[data-focus]')]
        .find((one) => one.getAttribute('data-focus') === focus);
      if (again) again.focus({ preventScroll: true });
      return { found, page };
    };
  }

  // What scrolls sideways can be scrolled by keyboard.
  function reachable(entries) {
    for (const { target } of entries) {
      const scrolls = target.scrollWidth > target.clientWidth;
      const said = { tabindex: '0', role: 'region',
        'aria-label': target.dataset.caption + ', scrollable' };
      for (const [name, value] of Object.entries(said)) scrolls ? target.setAttribute(name, value)
        : target.removeAttribute(name);
    }
  }

  // ---- the state, and the fragment that says it ----

  const FILTERS = ['q', 'verdict', 'reason', 'group', 'cve', 'attention'];
  const EMPTY = { q: '', verdict: '', reason: '', group: '', cve: '', attention: '', host: '',
    sort: 'name', columns: USUAL.join(','), page: 0,
    size: matchMedia('(max-width: 760px)').matches ? 25 : 50 };
  let state = Object.assign({}, EMPTY);

  function parsed(fragment) {
    const said = new URLSearchParams(fragment.replace(/^#/, '').replace(/\+/g, '%2B'));
    const read = {};
    for (const key of Object.keys(EMPTY)) if (said.has(key)) read[key] = said.get(key);
    if ('sort' in read && !KNOWN.has(read.sort.replace(/^-/, ''))) delete read.sort;
    if ('columns' in read) {
      const known = read.columns.split(',').filter((key) => KNOWN.has(key));
      read.columns = known.join(',') || EMPTY.columns;
    }
    if ('page' in read) read.page = Math.max(0, parseInt(read.page, 10) || 0);
    if ('size' in read) read.size = SIZES.find((size) => size >= read.size) || EMPTY.size;
    return read;
  }

  function fragment() {
    const said = Object.keys(EMPTY).filter((key) => state[key] !== EMPTY[key]);
    return '#' + said.map((key) => key + '=' + encodeURIComponent(state[key]).replace(/%2C/g,
      ',')).join('&');
  }

  // Something else is to be shown; without a new entry in the history if it is typed.
  function go(change, replace) {
    if (FILTERS.some((key) => key in change) && !('page' in change)) change.page = 0;
    if ('host' in change && !('page' in change) && !change.host) change.page = shownPage;
    state = Object.assign({}, state, change);
    history[replace ? 'replaceState' : 'pushState'](null, '', fragment());
    draw();
  }

  function follow(fragmentText, kept) {
    state = Object.assign({}, EMPTY, kept, parsed(fragmentText));
    const wanted = state.host && byName.get(state.host);
    if (wanted && !matcher()(wanted)) FILTERS.forEach((key) => { state[key] = ''; });
    draw();
  }

  function arrive() {
    const row = state.host && [...document.querySelectorAll('#host-table td.name button')]
      .find((one) => one.textContent === state.host);
    if (row) {
      row.focus({ preventScroll: true });
      row.scrollIntoView({ block: 'center' });
    } else {
      $('hosts').focus({ preventScroll: true });
      $('hosts').scrollIntoView();
    }
  }

  // ---- filters ----

  const texts = data.values.map((value) => (typeof value === 'string' ? value : Array.isArray(value)
    ? value.map((one) => (typeof one === 'string' ? one : '')).join(' ') : '').toLowerCase());
  const place = (key) => data.keys.indexOf(key);

  // A function that says whether a row is found. Each value is looked at once, however many rows
  // have it.
  function matcher() {
    const words = state.q.toLowerCase().split(/\s+/).filter(Boolean)
      .map((word) => texts.map((text) => text.includes(word)));
    const cve = state.cve.trim().toUpperCase();
    const having = cve && data.values.map((value) => Array.isArray(value) && value.includes(cve));
    const fixed = place('cves_fixed'), open = place('cves_open');
    const group = state.group.trim();
    const exact = hosts.some((row) => row.groups.includes(group));
    return (row) => (!state.verdict || row.verdict === state.verdict)
      && (!state.reason || row.reason_code === state.reason)
      && (!state.attention || row.attention)
      && (!group || row.groups.some((one) => (exact ? one === group
        : one.toLowerCase().includes(group.toLowerCase()))))
      && (!cve || having[row[PLACES][fixed]] || having[row[PLACES][open]])
      && words.every((hits) => row[PLACES].some((at) => hits[at]));
  }

  const TITLES = { q: 'words', verdict: 'verdict', reason: 'reason', group: 'group', cve: 'CVE',
    attention: 'needs attention' };

  function inWords() {
    const used = FILTERS.filter((key) => state[key]);
    return used.map((key) => TITLES[key] + ': ' + state[key]).join('; ');
  }

  // ---- drawing ----

  const hostTable = Table($('host-table'), 'Hosts of this run', hosts, (change) => go(change));
  let shownPage = 1;

  function draw() {
    const match = matcher(), filtered = FILTERS.some((key) => state[key]);
    const columns = state.columns.split(',').map((key) => KNOWN.get(key));
    const drawn = hostTable(Object.assign({}, state, { columns, all: COLUMNS }), filtered ? match
      : null);
    shownPage = drawn.page;
    const told = (filtered ? count(drawn.found.length) + ' of ' : '') + many(hosts.length, 'host');
    if ($('count').textContent !== told) $('count').textContent = told;
    $('filtered').textContent = filtered ? 'Filtered by ' + inWords() + ': ' + told + '.' : '';
    $('filtered').hidden = !filtered;
    for (const key of FILTERS) {
      const field = form.elements[key];
      if (key === 'attention') field.checked = Boolean(state[key]);
      else if (field.value !== state[key]) field.value = state[key];
    }
    drawTools();
    elsewhere(filtered ? match : () => true);
  }

  // What the page showed before its script began: attention and timeline follow the filter, too.
  function elsewhere(match) {
    for (const one of document.querySelectorAll('[data-row]')) {
      const found = match(hosts[one.dataset.row]);
      if (one.tagName === 'LI') one.hidden = !found;
      else one.classList.toggle('other', !found);
    }
    let left = 0;
    const reasons = document.querySelectorAll('.reason');
    for (const one of reasons) {
      one.hidden = !one.querySelector('li:not([hidden])');
      left += !one.hidden;
    }
    $('attention-none').hidden = left > 0 || !reasons.length;
  }

  const tools = el('div', { class: 'tools' });
  const boxes = COLUMNS.map((one) => el('input', { type: 'checkbox', value: one.key,
    disabled: one.key === 'name', onchange: () => go({
    columns: boxes.filter((box) => box.checked).map((box) => box.value).join(',') }) }));
  const sorter = el('select', { onchange: (event) => go({ sort: event.target.value, page: 1 }) });

  function makeTools() {
    const choice = COLUMNS.map((one, at) => el('label', {}, boxes[at], ' ' + one.label));
    const usual = el('button', { type: 'button', onclick: () => go({ columns: EMPTY.columns }) },
      'The usual ones');
    tools.append(el('label', { class: 'sorter' }, 'Sort by ', sorter),
      el('details', { class: 'columns' }, el('summary', {}, 'Columns'),
        el('fieldset', {}, el('legend', {}, 'Columns of the table'), choice, usual)));
    $('host-table').before(tools);
  }

  function drawTools() {
    const keys = state.columns.split(',');
    boxes.forEach((box) => { box.checked = keys.includes(box.value); });
    const offered = [state.columns, state.sort].join(' ');
    if (sorter.dataset.offered === offered) return;
    sorter.dataset.offered = offered;
    sorter.replaceChildren(...COLUMNS.filter((one) => keys.includes(one.key)).flatMap((one) => ['',
      '-'].map((sign) => el('option',
      { value: sign + one.key, selected: state.sort === sign + one.key },
        one.label + (sign ? ', descending' : '')))));
  }

  // Tables whose state is nobody else's business.
  function ownTable(box, caption, rows, columns, sort) {
    const view = { columns, all: columns, sort, page: 1, size: 20, host: '' };
    const show = Table(box, caption, rows,
      function (change) { Object.assign(view, change); show(view); });
    show(view);
    return () => show(view);
  }

  function makeCves() {
    if (!$('cve-table')) return () => {};
    const rows = data.cves.map(([cve, fixed, open]) => ({ cve, fixed, open }));
    const link = (row) => el('a', { href: '#cve=' + encodeURIComponent(row.cve) },
      foreign(row.cve));
    const hostCount = (key, label) => column(key, label, { kind: 'n' });
    return ownTable($('cve-table'), 'CVEs, and on how many machines', rows,
      [column('cve', 'CVE', { draw: link, kind: 'key' }), hostCount('fixed',
        'Fixed by this run on'), hostCount('open', 'Still open on')], '-open');
  }

  function makeEvents() {
    const rows = data.events.map(([at, host, what], order) => ({ at, host, what, order }));
    const link = (row) => (row.host === null ? none('the run')
      : el('a', { href: '#host=' + encodeURIComponent(row.host) }, foreign(row.host)));
    return ownTable($('event-table'), 'Events, in order of time', rows, [
      column('order', 'Time', { draw: (row) => time(row.at) }),
        column('host', 'Host', { draw: link }), column('what', 'What')], 'order');
  }

  // ---- wiring ----

  function fillFilters() {
    const used = new Map();
    hosts.forEach((row) => used.set(row.reason_code, (used.get(row.reason_code) || 0) + 1));
    for (const code of [...Object.keys(data.titles), ...used.keys()]) {
      if (!used.has(code)) continue;
      form.elements.reason.append(el('option', { value: code },
        (data.titles[code] || code) + ' (' + count(used.get(code)) + ')'));
      used.delete(code);
    }
    const groups = new Set(hosts.flatMap((row) => row.groups));
    $('groups').append(...[...groups].sort(compare).map((group) => el('option', { value: group })));
    form.hidden = false;
  }

  function typed(event) {
    const field = event.target;
    const value = field.type === 'checkbox' ? (field.checked ? field.value : '') : field.value;
    // A word is one entry of the history, not one for each key.
    const again = field.tagName === 'INPUT' && field.type !== 'checkbox'
      && Boolean(state[field.name]);
    go({ [field.name]: value, host: '' }, again);
  }

  function clicked(event) {
    const bar = event.target.closest('g[data-row]');
    const link = event.target.closest('a[href^="#"]');
    if (bar) {
      go({ host: hosts[bar.dataset.row].name, page: 0 });
    } else if (link && link.getAttribute('href').includes('=') && !event.ctrlKey && !event.metaKey
      && !event.shiftKey) {
      event.preventDefault();
      // What was chosen of the table stays; what is found is the link's.
      const said = parsed(link.getAttribute('href'));
      const kept = said.host ? Object.assign({}, state, { page: 0 })
        : { sort: state.sort, columns: state.columns, size: state.size };
      history.pushState(null, '', link.getAttribute('href'));
      follow(link.getAttribute('href'), kept);
      history.replaceState(null, '', fragment());
    } else return;
    arrive();
  }

  function print(now) {
    printing = now;
    draw();
    redraw.forEach((one) => one());
  }

  fillFilters();
  makeTools();
  const redraw = [makeCves(), makeEvents()];
  form.addEventListener('input', typed);
  form.addEventListener('submit', (event) => event.preventDefault());
  form.addEventListener('reset', function (event) {
    event.preventDefault();
    go(Object.assign(Object.fromEntries(FILTERS.map((key) => [key, ''])), { host: '' }));
  });
  document.addEventListener('click', clicked);
  window.addEventListener('popstate', function () {
    // The skip link's fragment is a place on the page, and no state.
    if (location.hash === '' || location.hash.includes('=')) follow(location.hash, {});
  });
  window.addEventListener('beforeprint', () => print(true));
  window.addEventListener('afterprint', () => print(false));
  follow(location.hash, {});
  if (location.hash.includes('=') && (state.host || FILTERS.some((key) => state[key]))) arrive();
})();
