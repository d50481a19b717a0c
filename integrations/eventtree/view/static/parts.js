// Parts that several views share: a status, tokens by kind, feedback, dead letters, a button that asks again.

import { html, useState } from "./preact/standalone.module.js";
import * as api from "./api.js";
import { clock, count, plural, STATUSES } from "./format.js";

export function Status({ status, word = false }) {
  const [sign, means] = STATUSES[status] ?? ["?", status];
  return html`<span class=${`status ${status}`} title=${`${status}: ${means}`} role="img" aria-label=${status}>${sign}</span>
    ${word && html`<span class=${`status ${status}`} aria-hidden="true"> ${status}</span>`}`;
}

const PARTS = {
  input_tokens: 0, cache_read_tokens: 1, cache_read_audio_tokens: 2, cache_read_image_tokens: 2, cache_write_tokens: 1,
  cache_write_5m_tokens: 2, cache_write_1h_tokens: 2, input_audio_tokens: 1, input_image_tokens: 1, output_tokens: 0,
  reasoning_tokens: 1, output_audio_tokens: 1, output_image_tokens: 1, total_tokens: 0,
}; // tokens by kind → how deep each is a part of the kind above it

export function TokenTable({ tokens }) {
  const shown = Object.keys(PARTS).filter((name) => PARTS[name] === 0 || tokens[name] != null);
  return html`<table class="figures">
    <tbody>
      ${shown.map(
        (name) => html`<tr key=${name}>
          <th scope="row" style=${{ paddingLeft: `${PARTS[name] * 14}px` }}>${name.replace(/_tokens$/, "").replaceAll("_", " ")}</th>
          <td>${count(tokens[name])}</td>
        </tr>`,
      )}
    </tbody>
  </table>`;
}

/** What people think of it, and a form to say so. */
export function Feedback({ tree, event, given }) {
  const [message, setMessage] = useState(null);
  const [comment, setComment] = useState("");
  const [name, setName] = useState("");
  const give = async (score) => {
    try {
      await api.post("feedback", { tree: tree.id, event, score, name, comment });
      setComment("");
      setMessage("Recorded. It goes to the vendors after its tree.");
    } catch (error) {
      setMessage(error.message);
    }
  };
  return html`<section class="feedback">
    <h3>feedback</h3>
    ${(given ?? []).map(
      (one) => html`<div class="note" key=${one.key}>
        <span class="quiet">${clock(one.at / 1e9)}</span>
        <b>${one.name ?? "score"}</b> ${one.score != null && html`<${Score} score=${one.score} />`}
        ${one.comment != null && html`<div class="prose">${String(one.comment)}</div>`}
        ${one.user != null && html`<span class="quiet">${String(one.user)}</span>`}
      </div>`,
    )}
    <div class="form">
      <input aria-label="what is scored" placeholder="what is scored" value=${name} onInput=${(e) => setName(e.target.value)} />
      <input aria-label="comment" placeholder="comment" value=${comment} onInput=${(e) => setComment(e.target.value)} />
      <button onClick=${() => give(1)} aria-label="good">▲ good</button>
      <button onClick=${() => give(0)} aria-label="bad">▼ bad</button>
      <button onClick=${() => give(null)} disabled=${!comment}>comment only</button>
    </div>
    ${message && html`<p role="status" class="quiet">${message}</p>`}
  </section>`;
}

function Score({ score }) {
  if (typeof score === "object") return Object.entries(score).map(([name, one]) => `${name} ${one}`).join(", ");
  return html`<span class="number">${String(score)}</span>`;
}

/** A button that asks once more before it does what cannot be undone. */
export function Sure({ words, sure, onSure, disabled }) {
  const [asked, setAsked] = useState(false);
  if (!asked) return html`<button disabled=${disabled} onClick=${() => setAsked(true)}>${words}</button>`;
  const answer = (yes) => {
    setAsked(false);
    if (yes) onSure();
  };
  return html`<span class="sure">
    ${sure} <button class="danger" onClick=${() => answer(true)}>Yes</button>
    <button onClick=${() => answer(false)}>No</button>
  </span>`;
}

/** Letters of one tree that a vendor refused in the same words, together. */
function alike(letters) {
  const groups = new Map();
  for (const letter of letters) {
    const key = JSON.stringify([letter.name, letter.tree, letter.status, letter.words]);
    groups.set(key, [...(groups.get(key) ?? []), letter]);
  }
  return [...groups.values()];
}

/** What a vendor refused, to be sent again once its cause is corrected, or dropped and counted. */
export function Letters({ letters, onDone, onOpen }) {
  const [message, setMessage] = useState(null);
  const [busy, setBusy] = useState(false);
  const act = async (path, describe) => {
    setBusy(true);
    try {
      const wanted = letters.map(({ name, id }) => ({ name, id }));
      const { done } = await api.post(path, { letters: wanted });
      setMessage(describe(done));
      onDone();
    } catch (error) {
      setMessage(error.message);
    }
    setBusy(false);
  };
  const resent = (done) =>
    done.map((one) => `${one.vendor}: ${one.taken} of ${one.letters} taken, ${one.refused} refused again`).join("; ");
  return html`<div class="letters">
    <ul>
      ${alike(letters).map(
        ([letter, ...more]) => html`<li key=${letter.id.join(" ")}>
          <header>
            <b>${letter.vendor}</b> <span class="bad">${letter.status ?? "no answer"}</span>
            <time class="quiet">${clock(letter.at)}</time>
            <span class="quiet">${plural([letter, ...more].reduce((sum, one) => sum + one.events.length, 0), "event")}</span>
            ${onOpen && html`<button class="link" onClick=${() => onOpen(letter)}>open</button>`}
          </header>
          <blockquote>${letter.words}</blockquote>
        </li>`,
      )}
    </ul>
    <p class="acts">
      <button disabled=${busy} onClick=${() => act("resend", resent)}>Send again</button>
      <${Sure} words="Drop" disabled=${busy} sure="They count as dropped, and are gone."
        onSure=${() => act("drop", (number) => `${plural(number, "letter")} dropped`)} />
    </p>
    ${message && html`<p role="status">${message}</p>`}
  </div>`;
}
