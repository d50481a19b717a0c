// Any JSON as a tree to fold, with real line breaks, and texts as text only.

import { html, useState } from "./preact/standalone.module.js";
import { bytes, count } from "./format.js";

const OPEN_LEVELS = 2;
const SHOWN_ENTRIES = 100;
const SHOWN_TEXT = 4_000;

/** A text that may be long: its beginning, and the rest when asked for. */
export function Text({ text, quiet = false }) {
  const [whole, setWhole] = useState(false);
  const isCut = !whole && text.length > SHOWN_TEXT;
  return html`<span class=${quiet ? "text quiet" : "text"}>${isCut ? text.slice(0, SHOWN_TEXT) : text}</span>
    ${isCut &&
    html`<button class="link" onClick=${() => setWhole(true)}>… all ${count(text.length)} characters</button>`}`;
}

export function Copy({ value }) {
  const [done, setDone] = useState(false);
  if (!navigator.clipboard) return null; // only pages of this machine, or by https, have one
  const copy = async () => {
    await navigator.clipboard.writeText(typeof value === "string" ? value : JSON.stringify(value, null, 2));
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return html`<button class="link copy" onClick=${copy}>${done ? "copied" : "copy"}</button>`;
}

export function Json({ value, level = 0 }) {
  if (value === null || value === undefined) return html`<span class="quiet">null</span>`;
  if (typeof value === "string") return html`<${Text} text=${value} />`;
  if (typeof value !== "object") return html`<span class="number">${String(value)}</span>`;
  return html`<${Fold} value=${value} level=${level} />`;
}

const isDeep = (value) => value !== null && typeof value === "object" && Object.keys(value).length > 0;

function Fold({ value, level }) {
  const entries = Object.entries(value);
  const [open, setOpen] = useState(level < OPEN_LEVELS && entries.length <= SHOWN_ENTRIES);
  const [most, setMost] = useState(SHOWN_ENTRIES);
  const isList = Array.isArray(value);
  if (!entries.length) return html`<span class="quiet">${isList ? "[ ]" : "{ }"}</span>`;
  const what = `${count(entries.length)} ${isList ? "item" : "field"}${entries.length === 1 ? "" : "s"}`;
  return html`
    <div class="fold">
      <button class="link" aria-expanded=${open} onClick=${() => setOpen(!open)}>${open ? "▾" : "▸"} ${what}</button>
      ${open &&
      html`<dl>
        ${entries.slice(0, most).map(
          ([key, inner]) =>
            html`<div key=${key} class=${isDeep(inner) ? "deep" : ""}><dt>${key}</dt><dd><${Json} value=${inner} level=${level + 1} /></dd></div>`,
        )}
      </dl>`}
      ${open &&
      entries.length > most &&
      html`<button class="link" onClick=${() => setMost(most + 10 * SHOWN_ENTRIES)}>
        … ${count(entries.length - most)} more
      </button>`}
    </div>`;
}

/** A field that is too long to come at once: in pieces, as they are asked for, then as what it is. */
export function Long({ size, load, draw }) {
  const [got, setGot] = useState({ text: "", next: 0 });
  const [busy, setBusy] = useState(false);
  const more = async () => {
    setBusy(true);
    const piece = await load(got.next);
    setGot({ text: got.text + piece.text, next: piece.next });
    setBusy(false);
  };
  if (got.next === null) return draw(JSON.parse(got.text));
  return html`
    <div>
      <span class="quiet">${bytes(size)} of JSON</span>
      <button class="link" disabled=${busy} onClick=${more}>${got.text ? "read on" : "read it"}</button>
      ${got.text && html`<pre class="text"><${Text} text=${got.text} /></pre>`}
    </div>`;
}
