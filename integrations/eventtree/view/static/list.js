// The list of trees, newest first, with the one filter box. While trees come in, what one looks at stays where it is.

import { html, useEffect, useRef, useState } from "./preact/standalone.module.js";
import { get, soon } from "./api.js";
import { clock, count, plural, seconds, short, usd } from "./format.js";
import { Status } from "./parts.js";
import { Rows } from "./rows.js";

const HEIGHT = 46;
const TYPING_MS = 200;
const FRESH_MS = 300; // between two looks for new trees

/** The rows so far and a page beyond them, unless they were brought up to date meanwhile and end elsewhere. */
function following(found, before, page) {
  if (found.next !== before) return found;
  return { ...found, next: page.next, certain: found.certain && page.certain, rows: [...found.rows, ...page.rows] };
}

/** Pages of rows for a filter: loaded as one scrolls, brought up to date as news come. */
function useTrees(words, news, atTop) {
  const [found, setFound] = useState({ rows: [], next: null, words: null, error: null });
  const [fresh, setFresh] = useState(0);
  const now = useRef({ all: false, busy: false });
  const wait = useRef({});
  Object.assign(now.current, { found, words, atTop });

  const load = async (before) => {
    const { words } = now.current;
    try {
      const page = await get("trees", { q: words, before });
      if (words !== now.current.words) return;
      if (before) setFound((found) => following(found, before, page));
      else setFound({ error: null, ...page, words });
      if (!before) setFresh(0);
    } catch (error) {
      if (words === now.current.words) setFound({ rows: [], next: null, words, error: error.message });
    }
  };

  useEffect(() => {
    const wait = setTimeout(load, found.words === null ? 0 : TYPING_MS);
    return () => clearTimeout(wait);
  }, [words]);

  const refresh = async () => {
    const { words, all } = now.current;
    now.current.all = false;
    const page = await get("trees", { q: words }).catch(() => null);
    if (!page || words !== now.current.words) return;
    const { found } = now.current;
    const known = new Map(page.rows.map((row) => [row.id, row]));
    const old = new Set(found.rows.map((row) => row.id));
    const added = page.rows.filter((row) => !old.has(row.id)).length;
    const isPart = found.certain === false && found.next === null; // older ones were still to be read
    if (now.current.atTop || all || isPart || added === page.rows.length) {
      setFound({ error: null, ...page, words });
      setFresh(0);
    } else {
      // Rows change in place; new ones wait, so that nothing moves under the eyes.
      const inPlace = (found) => found.rows.map((row) => known.get(row.id) ?? row);
      setFound((found) => ({ ...found, certain: page.certain, rows: inPlace(found) }));
      setFresh(added);
    }
  };
  useEffect(() => {
    if (news?.all) now.current.all = true;
    if (news) soon(wait.current, FRESH_MS, refresh);
  }, [news]);
  useEffect(() => {
    // The index was not read far enough in the time of one answer.
    if (found.certain === false) soon(wait.current, FRESH_MS, found.rows.length ? refresh : load);
  }, [found]);

  const more = async () => {
    if (found.next === null || now.current.busy) return;
    now.current.busy = true;
    await load(found.next);
    now.current.busy = false;
  };
  return { ...found, fresh, more, reload: () => load() };
}

export function List({ place, go, news }) {
  const [words, setWords] = useState(place.q ?? "");
  const [atTop, setAtTop] = useState(true);
  const { rows, next, error, fresh, more, reload, certain } = useTrees(place.q ?? "", news, atTop);
  useEffect(() => {
    // While one types, the box leads and the address follows.
    if (document.activeElement?.id !== "filter") setWords(place.q ?? "");
  }, [place.q]);

  const active = rows.findIndex((row) => row.id === place.tree);
  const open = (index) => rows[index] && go({ tree: rows[index].id, event: null, page: null });
  const keys = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
    if (step) open(Math.max(0, Math.min(rows.length - 1, active + step)));
    else if (event.key === "Enter" || event.key === "ArrowRight") document.getElementById("events")?.focus();
    else return;
    event.preventDefault();
  };
  const typed = (event) => {
    setWords(event.target.value);
    go({ q: event.target.value }, true);
  };

  return html`<nav class="list" aria-label="trees">
    <input id="filter" type="search" value=${words} onInput=${typed} spellcheck="false" autocomplete="off"
      placeholder="status:error  model:gpt-4o  cost>0.01  text" aria-label="filter" />
    ${error && html`<p class="bad" role="alert">${error}</p>`}
    ${fresh > 0 && html`<button class="fresh" onClick=${reload}>↑ ${plural(fresh, "new tree")}</button>`}
    ${certain === false && html`<p class="quiet">reading on …</p>`}
    ${!error && certain && rows.length === 0 && html`<${Empty} filtered=${Boolean(place.q)} />`}
    <${Rows} id="trees" role="listbox" label="trees, newest first" count=${rows.length} height=${HEIGHT} active=${active}
      onEnd=${more} onTop=${setAtTop} onKey=${keys} of=${[rows, active]}
      row=${(index, { key, style }) => html`<${Row} key=${key} style=${style} row=${rows[index]} index=${index} active=${index === active}
        onOpen=${() => open(index)} />`} />
    <${Sums} rows=${rows} more=${next !== null} />
  </nav>`;
}

function Row({ style, row, index, active, onOpen }) {
  const used = row.models.length > 0;
  const about = [
    used && `${short(row.tokens)} tok`,
    used && usd(row.usd, row.unpriced),
    row.session && `#${row.session}`,
    used && row.models[0] + (row.models.length > 1 ? ` +${row.models.length - 1}` : ""),
  ].filter(Boolean);
  return html`<div class=${active ? "tree-row active" : "tree-row"} style=${style} role="option"
    id=${`trees-${index}`} aria-selected=${active} onClick=${onOpen}>
    <${Status} status=${row.status} />
    <span class="name">${row.name}</span>
    <time>${clock(row.start)}</time>
    <span class="about">${about.join(" · ") || row.kind}</span>
    <span class="duration">${row.status === "running" ? "" : seconds(row.duration)}</span>
  </div>`;
}

function Empty({ filtered }) {
  if (filtered) return html`<p class="empty">No tree fits these words.</p>`;
  return html`<div class="empty">
    <p><b>Nothing recorded yet.</b></p>
    <p>Give a handler to a chain: its tree appears here while it runs.</p>
    <pre>from eventtree.langchain import CallbackHandler${"\n\n"}chain.invoke(…, config={"callbacks": [CallbackHandler()]})</pre>
  </div>`;
}

/** What the rows so far add up to; of unknown figures it is the least. */
function Sums({ rows, more }) {
  if (!rows.length) return null;
  const tokens = rows.filter((row) => row.tokens != null).reduce((sum, row) => sum + row.tokens, 0);
  const priced = rows.filter((row) => row.usd != null);
  const dollars = priced.length ? priced.reduce((sum, row) => sum + row.usd, 0) : null;
  const unpriced = rows.reduce((sum, row) => sum + row.unpriced, 0);
  return html`<footer class="quiet">
    ${more ? `the newest ${count(rows.length)} trees` : plural(rows.length, "tree")} · ${short(tokens)} tokens ·
    ${" "}${usd(dollars, unpriced)}
  </footer>`;
}
