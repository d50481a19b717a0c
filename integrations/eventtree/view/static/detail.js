// One event: what went in and came out, its tokens and cost, what was recorded, what each vendor is sent of it.

import { html, useEffect, useState } from "./preact/standalone.module.js";
import * as api from "./api.js";
import { Chat, Documents, isMessage, messagesIn } from "./chat.js";
import { clock, count, seconds, usd } from "./format.js";
import { Copy, Json, Long, Text } from "./json.js";
import { Feedback, Status, TokenTable } from "./parts.js";

const TABS = ["content", "tokens", "record", "requests"];

export function Detail({ tree, place, go }) {
  const [found, setFound] = useState({ event: null, error: null });
  const row = tree.events.find((event) => event.id === place.event);
  const state = row && `${row.status} ${row.duration} ${row.notes} ${tree.feedback.length}`;
  const tab = TABS.includes(place.tab) ? place.tab : "content";
  useEffect(() => {
    let current = true;
    api.get(api.event(tree.id, place.event)).then(
      (event) => current && setFound({ event, error: null }),
      (error) => current && setFound({ event: null, error: error.message }),
    );
    return () => (current = false);
  }, [tree.id, place.event, state]);

  const { event } = found;
  if (found.error) return html`<section class="detail" id="detail" tabindex="-1"><p class="bad">${found.error}</p></section>`;
  if (!event || event.id !== place.event) return html`<section class="detail" id="detail" tabindex="-1" aria-busy="true" />`;
  const open = (id) => go({ event: id });
  const Shown = { content: Inside, tokens: Tokens, record: Recorded, requests: Requests }[tab];
  return html`<section class="detail" id="detail" tabindex="-1" aria-label="event">
    <header>
      <button class="link" onClick=${() => go({ event: null })}>← tree</button>
      <h2><span class="kind">${event.kind}</span> ${event.name}</h2>
      <p class="facts">
        <${Status} status=${event.status} word />
        <span>${event.status === "running" ? "since" : "at"} ${clock(Date.parse(event.start) / 1000)}</span>
        <span>${seconds(event.duration)}</span>
        ${event.time_to_first_token != null &&
        html`<span title="time to first token">first token ${seconds(event.time_to_first_token)}</span>`}
        ${event.model && html`<span>${event.model}${event.asked_model ? ` (asked for ${event.asked_model})` : ""}</span>`}
        ${event.provider && html`<span class="quiet">${event.provider}</span>`}
      </p>
      <div class="tabs" role="tablist" aria-label="parts of the event">
        ${TABS.map(
          (name) =>
            html`<button key=${name} role="tab" aria-selected=${name === tab} onClick=${() => go({ tab: name }, true)}>
              ${name}
            </button>`,
        )}
      </div>
    </header>
    <div class="inside" role="tabpanel" tabindex="0" aria-label=${tab} data-event=${event.id}>
      <${Shown} key=${event.id} tree=${tree} event=${event} onOpen=${open} />
    </div>
  </section>`;
}

function Inside({ tree, event, onOpen }) {
  return html`
    ${event.error && html`<${Failure} error=${event.error} />`}
    ${event.notes?.length > 0 && html`<${Notes} notes=${event.notes} />`}
    <${Value} title="in" name="inputs" tree=${tree} event=${event} onOpen=${onOpen} />
    <${Value} title="out" name="outputs" tree=${tree} event=${event} onOpen=${onOpen} />
    <${Feedback} tree=${tree} event=${event.id} given=${event.feedback} />`;
}

function Failure({ error }) {
  return html`<section class="failure" role="note">
    <b>${error.type}</b>
    <div class="prose"><${Text} text=${error.message} /></div>
    ${error.traceback && html`<details><summary>traceback</summary><pre class="text">${error.traceback}</pre></details>`}
  </section>`;
}

function Notes({ notes }) {
  return html`<section>
    <h3>notes</h3>
    ${notes.map(
      (note, index) =>
        html`<div class="note" key=${index}>
          <span class="quiet">${clock(Date.parse(note.at) / 1000)}</span> <b>${note.name}</b>
          ${note.value != null && html`<${Json} value=${note.value} level=${1} />`}
        </div>`,
    )}
  </section>`;
}

/** Inputs or outputs, as what they are: a chat, documents, a text, else JSON. */
function Value({ title, name, tree, event, onOpen }) {
  const [raw, setRaw] = useState(false);
  const long = event.long[name];
  const value = event[name];
  const draw = (value) => (raw ? html`<${Json} value=${value} />` : html`<${Drawn} value=${value} event=${event} onOpen=${onOpen} />`);
  const load = (offset) => api.get(`${api.event(tree.id, event.id)}/${name}`, { offset });
  if (value == null && !long) {
    return html`<section><h3>${title}</h3><p class="quiet">${event.status === "running" ? "not yet" : "nothing recorded"}</p></section>`;
  }
  return html`<section>
    <h3>
      ${title}
      ${typeof value === "object" &&
      html`<button class="link" aria-pressed=${raw} onClick=${() => setRaw(!raw)}>${raw ? "as read" : "as JSON"}</button>`}
      ${!long && html`<${Copy} value=${value} />`}
    </h3>
    ${long ? html`<${Long} size=${long} load=${load} draw=${draw} />` : draw(value)}
  </section>`;
}

function Drawn({ value, event, onOpen }) {
  const messages = messagesIn(value) ?? (isMessage(value) ? [value] : null);
  const documents = Array.isArray(value?.documents) ? value.documents : null;
  const text = typeof value === "string" ? value : onlyText(value);
  if (messages) {
    const { messages: _, ...rest } = isMessage(value) ? {} : value;
    return html`<${Chat} messages=${messages} answers=${event.answers} onOpen=${onOpen} />
      ${Object.keys(rest).length > 0 && html`<${Json} value=${rest} level=${1} />`}`;
  }
  if (documents) {
    const { documents: _, ...rest } = value;
    return html`${Object.keys(rest).length > 0 && html`<${Json} value=${rest} />`}
      <${Documents} documents=${documents} givenTo=${event.given_to} onOpen=${onOpen} />`;
  }
  return text === null ? html`<${Json} value=${value} />` : html`<div class="prose"><${Text} text=${text} /></div>`;
}

const TEXT_FIELDS = ["query", "prompt", "text", "input", "question"];

/** The text of an object that holds nothing else. */
function onlyText(value) {
  const fields = value && typeof value === "object" && !Array.isArray(value) ? Object.entries(value) : [];
  const is = fields.length === 1 && TEXT_FIELDS.includes(fields[0][0]) && typeof fields[0][1] === "string";
  return is ? fields[0][1] : null;
}

function Tokens({ event }) {
  const { usage, cost } = event;
  if (!usage && !cost) {
    return html`<p class="quiet">${event.kind === "model" ? "Nothing is known of what it used: no usage was reported." : "It uses no tokens of its own."}</p>`;
  }
  return html`
    ${usage && html`<section><h3>tokens</h3><${TokenTable} tokens=${usage} /><${Remarks} usage=${usage} /></section>`}
    <section>
      <h3>cost</h3>
      <table class="figures">
        <tbody>
          ${["input", "output", "total"].map(
            (part) => html`<tr key=${part}><th scope="row">${part}</th><td>${usd(cost?.[`${part}_usd`])}</td></tr>`,
          )}
          <tr><th scope="row">source</th><td>${cost?.source ?? "no price is known"}</td></tr>
        </tbody>
      </table>
    </section>
    ${usage?.raw != null && html`<section><h3>as the provider sent it</h3><${Json} value=${usage.raw} /></section>`}`;
}

function Remarks({ usage }) {
  const others = Object.entries(usage.others ?? {}).map(([model, one]) => `${model} used ${count(one.total_tokens)} too`);
  const units = Object.entries(usage.units ?? {}).map(([name, number]) => `${name.replaceAll("_", " ")}: ${count(number)}`);
  const lines = [
    usage.inferred && "counted by a tokenizer: the provider reported nothing",
    usage.cached && "the answer came from a cache: nothing was used",
    usage.service_tier && `service tier: ${usage.service_tier}`,
    usage.uncounted?.length > 0 && `not counted: ${usage.uncounted.join(", ")}`,
    ...others, ...units, ...(usage.problems ?? []),
  ].filter(Boolean);
  return lines.map((line) => html`<p class="quiet" key=${line}>${line}</p>`);
}

const IN_CONTENT = new Set(["inputs", "outputs", "notes", "answers", "given_to", "long", "feedback"]);

/** All that was recorded besides the contents. */
function Recorded({ tree, event }) {
  const fields = Object.entries(event).filter(([name, value]) => !IN_CONTENT.has(name) && (value !== null || event.long[name]));
  return html`<dl class="record">
    ${fields.map(
      ([name, value]) => html`<div key=${name}>
        <dt>${name}</dt>
        <dd>${event.long[name]
          ? html`<${Long} size=${event.long[name]} draw=${(value) => html`<${Json} value=${value} />`}
              load=${(offset) => api.get(`${api.event(tree.id, event.id)}/${name}`, { offset })} />`
          : html`<${Json} value=${value} />`}</dd>
      </div>`,
    )}
  </dl>`;
}

/** The exact requests that carry the event to a vendor, beside what was recorded. */
function Requests({ tree, event }) {
  const [vendor, setVendor] = useState(tree.vendors[0] ?? "");
  const [found, setFound] = useState(null);
  useEffect(() => {
    let current = true;
    setFound(null);
    const asked = vendor ? api.get(`${api.tree(tree.id)}/requests`, { vendor, event: event.id }) : Promise.resolve({});
    asked.then(
      (answer) => current && setFound(answer),
      (error) => current && setFound({ error: error.message }),
    );
    return () => (current = false);
  }, [vendor, event.id]);
  if (!vendor) return html`<p class="quiet">The tree names no vendor: it is recorded on this machine only.</p>`;
  return html`
    <div class="choices" role="group" aria-label="vendor">
      ${tree.vendors.map(
        (name) => html`<button key=${name} aria-pressed=${name === vendor} onClick=${() => setVendor(name)}>${name}</button>`,
      )}
    </div>
    ${found?.error && html`<p class="bad">${found.error}</p>`}
    ${found?.own === false &&
    html`<p class="quiet">As this environment's settings make it: the tree was recorded for others, which are not known here.</p>`}
    ${found?.failed && html`<p class="bad">It cannot be encoded: ${found.failed}</p>`}
    ${found?.dropped && html`<p>${vendor} is not sent this event: ${found.dropped}. ${found.hint}</p>`}
    ${event.internal && !found?.requests?.length && html`<p class="quiet">Plumbing of the framework is not sent.</p>`}
    ${found?.requests?.map((request, index) => html`<${Sent} key=${index} request=${request} />`)}`;
}

function Sent({ request }) {
  const [whole, setWhole] = useState(false);
  const body = whole ? request.body : request.parts.join(",\n");
  const headers = Object.entries(request.headers).map(([name, value]) => `${name}: ${value}`);
  return html`<section>
    <pre class="text line"><b>${request.method}</b> ${request.url}${"\n"}${headers.join("\n")}</pre>
    <h3>
      ${whole ? "the whole body" : "this event's part of the body"}
      ${request.items > 1 &&
      html`<button class="link" onClick=${() => setWhole(!whole)}>
        ${whole ? "only this event" : `all ${count(request.items)} items`}
      </button>`}
      <${Copy} value=${body} />
    </h3>
    <${Body} key=${whole} text=${body} />
  </section>`;
}

function Body({ text }) {
  try {
    return html`<${Json} value=${JSON.parse(text)} level=${-1} />`;
  } catch {
    return html`<pre class="text"><${Text} text=${text} /></pre>`;
  }
}
