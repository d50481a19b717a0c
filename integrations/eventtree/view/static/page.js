// The page: its state is in the address, behind #, so that every view is a link.

import { html, render, useEffect, useLayoutEffect, useRef, useState } from "./preact/standalone.module.js";
import { live } from "./api.js";
import { Delivery } from "./delivery.js";
import { Detail } from "./detail.js";
import { List } from "./list.js";
import { Overview } from "./overview.js";
import { Tree, useTree } from "./tree.js";

const read = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

/** Where one is, and a way to go elsewhere; `quietly` leaves no step for the back button. */
function usePlace() {
  const [place, setPlace] = useState(read());
  useEffect(() => {
    const moved = () => setPlace(read());
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  const go = (changes, quietly = false) => {
    const next = Object.entries({ ...read(), ...changes }).filter(([, value]) => value != null && value !== "");
    const hash = `#${new URLSearchParams(next)}`;
    if (hash === location.hash) return;
    if (quietly) history.replaceState(null, "", hash);
    else history.pushState(null, "", hash);
    setPlace(read());
  };
  return [place, go];
}

function useLive() {
  const [news, setNews] = useState(null);
  const [on, setOn] = useState(false);
  useEffect(() => live(setNews, setOn), []);
  return [news, on, () => setNews({ trees: [], all: true, delivery: true })];
}

const THEMES = ["auto", "light", "dark"];

function useTheme() {
  const [theme, setTheme] = useState(localStorage.getItem("eventtree-theme") ?? "auto");
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("eventtree-theme", theme);
  }, [theme]);
  return [theme, () => setTheme(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length])];
}

const KEYS = [
  ["j k or ↓ ↑", "next and previous row"],
  ["→ ←", "unfold and fold; from the list into the tree and back"],
  ["Enter", "read what is chosen"],
  ["/", "filter"],
  ["f", "only this event and what is below it"],
  ["p", "with the framework's plumbing"],
  ["d", "delivery"],
  ["t", "light, dark, or as the system"],
  ["Esc", "back"],
  ["?", "this"],
];

function Help({ onClose }) {
  const dialog = useRef(null);
  useLayoutEffect(() => dialog.current.showModal(), []);
  return html`<dialog ref=${dialog} onClose=${onClose} aria-label="keys">
    <h2>keys</h2>
    <table class="figures">
      <tbody>${KEYS.map(([key, what]) => html`<tr key=${key}><th scope="row"><kbd>${key}</kbd></th><td>${what}</td></tr>`)}</tbody>
    </table>
    <h2>filter</h2>
    <p>
      <code>status:error</code> <code>session:s1</code> <code>user:ada</code> <code>model:gpt-4o*</code> <code>kind:tool</code>
      ${" "}<code>tag:beta</code> <code>cost>0.01</code> <code>tokens>1000</code> <code>duration>2s</code> <code>since:1h</code>
      ${" "}<code>vendor:braintrust</code> <code>feedback</code> <code>-status:ok</code> <code>"some text"</code>
    </p>
    <button onClick=${() => dialog.current.close()}>Close</button>
  </dialog>`;
}

function useKeys(acts) {
  const now = useRef(acts);
  now.current = acts;
  useEffect(() => {
    const pressed = (event) => {
      const typing = event.target.matches("input, textarea");
      if (event.ctrlKey || event.metaKey || event.altKey || (typing && event.key !== "Escape")) return;
      const act = now.current[event.key];
      if (!act || event.defaultPrevented || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      act(event);
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}

function Page() {
  const [place, go] = usePlace();
  const [news, on, changed] = useLive();
  const [theme, turn] = useTheme();
  const [help, setHelp] = useState(false);
  const { tree, error } = useTree(place.page === "delivery" ? null : place.tree, news);
  const toRows = (event) => {
    const rows = document.getElementById(place.tree && document.getElementById("events") ? "events" : "trees");
    rows?.focus();
    rows?.dispatchEvent(new KeyboardEvent("keydown", { key: event.key }));
  };
  useKeys({
    "/": () => document.getElementById("filter")?.focus(),
    "?": () => setHelp(true),
    t: turn,
    d: () => go({ page: place.page === "delivery" ? null : "delivery" }),
    j: toRows, k: toRows, ArrowDown: toRows, ArrowUp: toRows,
    Escape: () => {
      if (document.activeElement?.id === "filter") document.getElementById("trees")?.focus();
      else if (place.page) go({ page: null });
      else if (place.event) go({ event: null });
      else if (place.tree) go({ tree: null });
    },
  });
  useEffect(() => {
    document.title = tree ? `${tree.name} · eventtree` : "eventtree";
  }, [tree]);

  return html`
    <header class="top">
      <h1><button onClick=${() => go({ page: null, tree: null, event: null })}>eventtree</button></h1>
      <span class=${on ? "live on" : "live"} role="status">${on ? "live" : "not live"}</span>
      <span class="space" />
      <button aria-pressed=${place.page === "delivery"}
        onClick=${() => go({ page: place.page === "delivery" ? null : "delivery" })}>delivery</button>
      <button onClick=${turn} aria-label=${`colours: ${theme}`} title="colours (t)">${theme}</button>
      <button onClick=${() => setHelp(true)} aria-label="keys" title="keys (?)">?</button>
    </header>
    ${place.page === "delivery"
      ? html`<${Delivery} go=${go} news=${news} />`
      : html`<main class=${place.tree ? "panes with-tree" : "panes"}>
          <${List} place=${place} go=${go} news=${news} />
          <div class="opened">
            ${error && html`<p class="bad notice" role="alert">${error}</p>`}
            ${!place.tree && html`<p class="quiet notice">Choose a tree. <kbd>?</kbd> shows the keys.</p>`}
            ${place.tree &&
            html`<button class="link to-list" onClick=${() => go({ tree: null, event: null })}>← trees</button>`}
            ${tree && html`<${Tree} tree=${tree} place=${place} go=${go} />`}
            ${tree &&
            (place.event
              ? html`<${Detail} tree=${tree} place=${place} go=${go} />`
              : html`<${Overview} tree=${tree} go=${go} news=${news} onChange=${changed} />`)}
          </div>
        </main>`}
    ${help && html`<${Help} onClose=${() => setHelp(false)} />`}`;
}

render(html`<${Page} />`, document.body);
