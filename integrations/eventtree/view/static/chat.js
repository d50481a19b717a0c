// Messages as a chat, part by part: an odd part is a small box of its own JSON, and never spoils the rest.

import { html } from "./preact/standalone.module.js";
import { bytes, STATUSES } from "./format.js";
import { Copy, Json, Text } from "./json.js";

// Formats that no browser runs anything of. Other images are named, and none is ever fetched from elsewhere:
// that would tell a stranger that somebody reads this.
const IMAGE = /^data:image\/(png|jpeg|gif|webp|avif);base64,[A-Za-z0-9+/=]+$/;

export const isMessage = (value) => value && typeof value === "object" && typeof value.role === "string";
export const messagesIn = (value) =>
  Array.isArray(value?.messages) && value.messages.every(isMessage) ? value.messages : null;

/** `answers`: tool call id → the event that answered it, where it is not among the messages. */
export function Chat({ messages, answers = {}, onOpen }) {
  const results = new Map();
  for (const message of messages) {
    for (const call of callsOf(message)) if (call?.id) results.set(call.id, null);
  }
  for (const message of messages) {
    if (message.role === "tool" && results.has(message.tool_call_id)) results.set(message.tool_call_id, message);
  }
  const joined = new Set([...results.values()].filter(Boolean));
  return html`<div class="chat">
    ${messages.map((message, index) =>
      joined.has(message)
        ? null
        : html`<${Message} key=${index} message=${message} results=${results} answers=${answers} onOpen=${onOpen} />`,
    )}
  </div>`;
}

const callsOf = (message) => (Array.isArray(message.tool_calls) ? message.tool_calls : []);

const KNOWN = new Set(
  "role content tool_calls tool_call_id name status reasoning finish_reason id left_out".split(" "),
);

function Message({ message, results, answers, onOpen }) {
  const more = Object.fromEntries(Object.entries(message).filter(([key]) => !KNOWN.has(key)));
  const left = Array.isArray(message.left_out) ? message.left_out.map(String) : [];
  return html`
    <section class=${`message ${["user", "assistant", "system", "tool"].includes(message.role) ? message.role : ""}`}>
      <header>
        <b>${message.role}</b> ${message.name && html`<span>${String(message.name)}</span>`}
        ${message.status === "error" && html`<span class="bad">✕ error</span>`}
        ${message.finish_reason && html`<span class="quiet">${String(message.finish_reason)}</span>`}
        ${message.content && html`<${Copy} value=${message.content} />`}
      </header>
      ${message.reasoning && html`<${Reasoning} value=${message.reasoning} />`}
      <${Content} content=${message.content} />
      ${callsOf(message).map((call, index) => {
        const id = call && typeof call === "object" ? call.id : null;
        return html`<${Call} key=${index} call=${call} result=${results.get(id)} answer=${answers[id]} onOpen=${onOpen} />`;
      })}
      ${left.length > 0 && html`<p class="quiet">not recorded: ${left.join(", ")}</p>`}
      ${Object.keys(more).length > 0 && html`<${Json} value=${more} level=${9} />`}
    </section>`;
}

function Reasoning({ value }) {
  const text = typeof value === "string" ? value : null;
  return html`<details class="reasoning">
    <summary>reasoning${text && html`<span class="quiet"> ${text.length.toLocaleString("en-US")} characters</span>`}</summary>
    ${text === null ? html`<${Json} value=${value} />` : html`<${Text} text=${text} />`}
  </details>`;
}

export function Content({ content }) {
  if (content === null || content === undefined || content === "") return null;
  if (typeof content === "string") return html`<div class="prose"><${Text} text=${content} /></div>`;
  if (!Array.isArray(content)) return html`<${Json} value=${content} />`;
  return content.map((part, index) => html`<${Part} key=${index} part=${part} />`);
}

function Part({ part }) {
  if (typeof part === "string") return html`<div class="prose"><${Text} text=${part} /></div>`;
  if (part?.type === "text" && typeof part.text === "string") {
    return html`<div class="prose"><${Text} text=${part.text} /></div>`;
  }
  if (["image", "audio", "file", "video"].includes(part?.type)) return html`<${Media} part=${part} />`;
  return html`<div class="odd"><${Json} value=${part} level=${1} /></div>`;
}

function Media({ part }) {
  const url = typeof part.url === "string" ? part.url : "";
  if (part.type === "image" && IMAGE.test(url)) return html`<img class="image" src=${url} alt="image of the message" />`;
  const about = [part.mime_type, typeof part.bytes === "number" && bytes(part.bytes)].filter(Boolean).map(String);
  return html`<div class="odd">
    <b>${part.type}</b> ${about.join(" · ")}
    ${url && html`<div class="url"><${Text} text=${url} /></div>`}
    ${part.sha256 && html`<div class="quiet url">sha256 ${String(part.sha256)}</div>`}
    ${!url && html`<div class="quiet">The journal keeps its size and checksum, not its bytes.</div>`}
  </div>`;
}

/** A tool call with what came back: from the messages, else from the tool's own event. */
function Call({ call, result, answer, onOpen }) {
  const known = call && typeof call === "object" ? call : {};
  return html`<div class="call">
    <header>
      <span class="accent">→</span> <b>${String(known.name ?? "tool")}</b>
      ${known.id && html`<span class="quiet">${String(known.id)}</span>`}
      ${known.error && html`<span class="bad">${String(known.error)}</span>`}
    </header>
    <${Json} value=${known.arguments ?? call} level=${1} />
    ${result && html`<div class="result"><span class="accent">←</span> <${Content} content=${result.content} /></div>`}
    ${!result &&
    answer &&
    html`<div class="result">
      <span class="accent">←</span>
      <button class="link" onClick=${() => onOpen(answer.event)}>
        ${STATUSES[answer.status]?.[0]} ${answer.name}
      </button>
      <${Content} content=${answer.content + (answer.whole ? "" : " …")} />
    </div>`}
  </div>`;
}

/** Retrieved documents with their scores as bars, and who was given each. */
export function Documents({ documents, givenTo = {}, onOpen }) {
  const scores = documents.map((one) => (typeof one?.score === "number" ? one.score : null));
  const most = Math.max(1e-12, ...scores.filter((score) => score !== null).map(Math.abs));
  const scale = most <= 1 ? 1 : most;
  return html`<ol class="documents">
    ${documents.map((one, index) => {
      const given = givenTo[index] || [];
      return html`<li key=${index}>
        <header>
          <span class="quiet">${index + 1}</span>
          ${scores[index] === null
            ? html`<span class="quiet">no score</span>`
            : html`<span class="score" title="score"><i style=${{ width: `${(Math.abs(scores[index]) / scale) * 100}%` }} /></span>
                <span class="number">${scores[index].toPrecision(3)}</span>`}
          ${one?.id && html`<span class="quiet id">${String(one.id)}</span>`}
          ${given.length > 0 &&
          html`<button class="link" onClick=${() => onOpen(given[0])}>given to the model</button>`}
        </header>
        ${typeof one?.text === "string"
          ? html`<div class="prose"><${Text} text=${one.text} /></div>`
          : html`<${Json} value=${one} />`}
        ${one?.metadata && Object.keys(one.metadata).length > 0 && html`<${Json} value=${one.metadata} level=${2} />`}
      </li>`;
    })}
  </ol>`;
}
