// One tree: events and waterfall in the same rows, the first token marked, running bars open to the right.

import { html, useEffect, useMemo, useRef, useState } from "./preact/standalone.module.js";
import * as api from "./api.js";
import { count, seconds, short, usd } from "./format.js";
import { Status } from "./parts.js";
import { Rows } from "./rows.js";

const HEIGHT = 26;
const INDENT = 14;
const DEEPEST = 24; // levels of indentation; beyond it rows stay where they are
const TICKS = [0, 0.5];

const FIELDS = [
  "id", "parent", "kind", "name", "status", "at", "duration", "first", "model", "tokens", "usd", "uses", "internal",
  "notes",
]; // as `row_of` in shape.py has them

/** The outline of a tree, loaded again as it grows: never more often than its loading takes thrice. */
export function useTree(id, news) {
  const [found, setFound] = useState({ tree: null, error: null });
  const wait = useRef({ took: 0 });

  const load = async () => {
    const began = performance.now();
    try {
      const outline = await api.get(api.tree(id));
      outline.events = outline.events.map((row) => Object.fromEntries(row.map((value, at) => [FIELDS[at], value])));
      outline.at = performance.timeOrigin + performance.now();
      if (wait.current.id === id) setFound({ tree: outline, error: null });
    } catch (error) {
      if (wait.current.id === id) setFound({ tree: null, error: error.message });
    }
    wait.current.took = performance.now() - began;
  };
  useEffect(() => {
    wait.current.id = id;
    setFound({ tree: null, error: null });
    if (id) load();
  }, [id]);
  useEffect(() => {
    if (!id || !news || !(news.all || news.begun || news.trees.includes(id))) return;
    api.soon(wait.current, Math.min(5_000, 3 * wait.current.took), load);
  }, [news]);
  return found.tree && found.tree.id !== id ? { tree: null, error: null } : found;
}

/** Rows in the order of a drawn tree: without plumbing unless it is asked for, without what is folded. */
function arranged(tree, { folded, plumbing, focus }) {
  const { events } = tree;
  const above = events.map((event) => event.parent);
  const shown = events.map((event, at) => plumbing || !event.internal || at === 0);
  const children = new Map();
  events.forEach((event, at) => {
    if (!shown[at]) return;
    let parent = above[at];
    while (parent >= 0 && !shown[parent]) parent = above[parent];
    if (!children.has(parent)) children.set(parent, []);
    children.get(parent).push(at);
  });
  const start = Math.max(0, focus ? events.findIndex((event) => event.id === focus) : 0);
  const rows = [];
  const stack = focus ? [[start, 0]] : (children.get(-1) ?? []).map((at) => [at, 0]).reverse();
  while (stack.length) {
    const [at, depth] = stack.pop();
    const below = children.get(at) ?? [];
    rows.push({ event: events[at], depth, below: below.length });
    if (!folded.has(events[at].id)) for (const child of [...below].reverse()) stack.push([child, depth + 1]);
  }
  return rows;
}

/** From when to when the waterfall goes, in seconds from the root's start. */
function spanOf(tree, rows, focus) {
  const now = tree.at / 1000 - tree.start;
  const end = (event) => (event.status === "running" ? Math.max(now, event.at) : event.at + (event.duration ?? 0));
  const seen = focus ? rows : tree.events.map((event) => ({ event }));
  let [from, until] = [Infinity, -Infinity];
  for (const { event } of seen) {
    from = Math.min(from, event.at);
    until = Math.max(until, end(event));
  }
  return { from, length: Math.max(until - from, 1e-6), end };
}

export function Tree({ tree, place, go }) {
  const [folded, setFolded] = useState(new Set());
  const [plumbing, setPlumbing] = useState(false);
  const [focus, setFocus] = useState(null);
  useEffect(() => {
    setFolded(new Set());
    setFocus(null);
  }, [tree.id]);
  const rows = useMemo(() => arranged(tree, { folded, plumbing, focus }), [tree, folded, plumbing, focus]);
  const span = useMemo(() => spanOf(tree, rows, focus), [tree, rows, focus]);
  const active = rows.findIndex((row) => row.event.id === place.event);
  const hidden = tree.events.filter((event, at) => event.internal && at > 0).length;

  const fold = (id, close) => {
    const next = new Set(folded);
    if (close) next.add(id);
    else next.delete(id);
    setFolded(next);
  };
  const keys = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const row = rows[active];
    const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
    if (step) select(Math.max(0, Math.min(rows.length - 1, active + step)));
    else if (event.key === "ArrowRight" && row?.below && folded.has(row.event.id)) fold(row.event.id, false);
    else if (event.key === "ArrowRight") select(Math.min(rows.length - 1, active + 1));
    else if (event.key === "ArrowLeft" && row?.below && !folded.has(row.event.id)) fold(row.event.id, true);
    else if (event.key === "ArrowLeft" && active > 0) select(aboveOf(rows, active));
    else if (event.key === "ArrowLeft") document.getElementById("trees")?.focus();
    else if (event.key === "Enter") document.getElementById("detail")?.focus();
    else if (event.key === "f" && row) setFocus(focus === row.event.id ? null : row.event.id);
    else if (event.key === "p") setPlumbing(!plumbing);
    else return;
    event.preventDefault();
  };
  const select = (index) => rows[index] && go({ event: rows[index].event.id }, true);

  return html`<section class="tree" aria-label="events">
    <header class="axis">
      <span class="name">
        ${focus
          ? html`<button class="link" onClick=${() => setFocus(null)}>← whole tree</button>`
          : html`<span>${count(tree.events.length - (plumbing ? 0 : hidden))} events</span>`}
        ${hidden > 0 &&
        html`<button class="link" aria-pressed=${plumbing} onClick=${() => setPlumbing(!plumbing)}>
          ${plumbing ? "hide" : `+ ${count(hidden)}`} plumbing
        </button>`}
      </span>
      <span class="scale" aria-hidden="true">
        ${TICKS.map((part) => html`<i key=${part} style=${{ left: `${part * 100}%` }}>${seconds(part * span.length)}</i>`)}
      </span>
      <span class="tokens">tokens</span><span class="usd">cost</span><span class="duration">duration</span>
    </header>
    <${Rows} id="events" role="tree" label="events of the tree" count=${rows.length} height=${HEIGHT} active=${active}
      onKey=${keys} of=${[rows, span, active]}
      row=${(index, { key, style }) => html`<${Event} key=${key} style=${style} index=${index} row=${rows[index]} span=${span}
        active=${index === active} folded=${folded.has(rows[index].event.id)} onFold=${fold}
        onSelect=${() => select(index)} onFocus=${setFocus} />`} />
    ${tree.hidden > 0 && html`<p class="quiet">${count(tree.hidden)} more events are not drawn.</p>`}
  </section>`;
}

function aboveOf(rows, at) {
  const { depth } = rows[at];
  while (at > 0 && rows[at].depth >= depth) at--;
  return at;
}

function Event({ style, index, row, span, active, folded, onFold, onSelect, onFocus }) {
  const { event, depth, below } = row;
  const running = event.status === "running";
  const isOpen = running || event.duration == null;
  const left = ((event.at - span.from) / span.length) * 100;
  const width = ((span.end(event) - event.at) / span.length) * 100;
  const first = event.first != null && event.duration ? (event.first / event.duration) * 100 : null;
  const times = `${seconds(event.duration)}${event.first == null ? "" : `, first token after ${seconds(event.first)}`}`;
  const toggle = (pressed) => {
    pressed.stopPropagation();
    onFold(event.id, !folded);
  };
  return html`<div class=${`event ${event.kind}${active ? " active" : ""}${event.internal ? " internal" : ""}`}
    style=${style} role="treeitem" id=${`events-${index}`} aria-level=${depth + 1}
    aria-selected=${active} aria-expanded=${below ? !folded : undefined} onClick=${onSelect}
    onDblClick=${() => onFocus(event.id)}>
    <span class="name" style=${{ paddingLeft: `${Math.min(depth, DEEPEST) * INDENT}px` }}>
      <span class="toggle" onClick=${below ? toggle : undefined} aria-hidden="true">${below ? (folded ? "▸" : "▾") : ""}</span>
      <${Status} status=${event.status} />
      <span class="kind">${event.kind}</span>
      <span class="label">${event.name}</span>
      ${event.model && event.model !== event.name && html`<span class="quiet">${event.model}</span>`}
      ${event.notes > 0 && html`<span class="quiet" title="notes: retries, interrupts, log lines">✎ ${event.notes}</span>`}
    </span>
    <span class="track" title=${times}>
      <span class=${`bar ${event.status}${isOpen ? " open" : ""}`} style=${{ left: `${left}%`, width: `${width}%` }}>
        ${first != null && html`<i class="waiting" style=${{ width: `${Math.min(100, first)}%` }} />`}
      </span>
    </span>
    <span class="tokens">${event.uses ? short(event.tokens) : ""}</span>
    <span class="usd">${event.uses || event.usd != null ? usd(event.usd) : ""}</span>
    <span class="duration">${running ? "…" : seconds(event.duration)}</span>
  </div>`;
}
