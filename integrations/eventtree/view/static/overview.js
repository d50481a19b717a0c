// The overview of a tree: sums, models, its session, its state at each vendor, feedback.

import { html, useEffect, useState } from "./preact/standalone.module.js";
import * as api from "./api.js";
import { clock, count, plural, seconds, inSession, UNKNOWN, usd } from "./format.js";
import { Feedback, Letters, Status, Sure, TokenTable } from "./parts.js";

export function Overview({ tree, go, news, onChange }) {
  const { sums } = tree;
  return html`<section class="detail" id="detail" tabindex="-1" aria-label="tree">
    <header>
      <h2>${tree.name}</h2>
      <p class="facts">
        <${Status} status=${tree.status} word />
        <span>${clock(tree.start)}</span> <span>${tree.status === "running" ? "" : seconds(tree.duration)}</span>
        <span>${plural(sums.events, "event")}</span>
        ${sums.errors > 0 && html`<span class="bad">${plural(sums.errors, "error")}</span>`}
        ${tree.user && html`<span>user ${tree.user}</span>`} ${tree.environment && html`<span>${tree.environment}</span>`}
        ${tree.tags.map((tag) => html`<span class="tag" key=${tag}>${tag}</span>`)}
      </p>
    </header>
    <div class="inside" tabindex="0" role="group" aria-label="the whole tree">
      ${tree.damaged && html`<p class="bad">Part of its records is damaged: what was left is shown.</p>`}
      <${Session} tree=${tree} go=${go} />
      <${Figures} sums=${sums} models=${tree.models} used=${tree.events.some((event) => event.uses)} />
      <${Vendors} tree=${tree} news=${news} />
      <${Feedback} tree=${tree} event=${tree.id} given=${tree.feedback} />
      <${Clear} tree=${tree} go=${go} onChange=${onChange} />
    </div>
  </section>`;
}

/** Tokens by kind, dollars, and each model with the source of its price. */
function Figures({ sums, models, used }) {
  if (!used && sums.usd == null) {
    return html`<section><h3>tokens and cost</h3><p class="quiet">No event of it used a model.</p></section>`;
  }
  return html`<section>
    <h3>tokens and cost</h3>
    <${TokenTable} tokens=${sums.tokens} />
    <p>
      ${usd(sums.usd, sums.unpriced)}
      ${sums.unpriced > 0 && html`<span class="quiet"> ${plural(sums.unpriced, "event")} without a known price</span>`}
    </p>
    <table class="figures wide">
      <thead><tr><th>model</th><th>calls</th><th>tokens</th><th>cost</th><th>by</th></tr></thead>
      <tbody>
        ${models.map(
          (one) => html`<tr key=${one.model}>
            <th scope="row">${one.model}</th><td>${count(one.calls)}</td><td>${count(one.tokens)}</td><td>${usd(one.usd)}</td>
            <td class="quiet">${one.sources.map((source) => source ?? UNKNOWN).join(", ")}</td>
          </tr>`,
        )}
      </tbody>
    </table>
  </section>`;
}

/** The trees of its session in order, and which one goes on with which. */
function Session({ tree, go }) {
  const [rows, setRows] = useState([]);
  useEffect(() => {
    let current = true;
    setRows([]);
    if (tree.session) {
      api.get("trees", { q: inSession(tree.session), limit: 20 }).then(
        (page) => current && setRows(page.rows.reverse()),
        () => {},
      );
    }
    return () => (current = false);
  }, [tree.id, tree.session, tree.status]);
  const open = (id) => go({ tree: id, event: null });
  const link = (id, words) => html`<p class="paused"><button class="link" onClick=${() => open(id)}>${words}</button></p>`;
  return html`
    ${tree.resumes && link(tree.resumes, "‖ goes on with a paused tree")}
    ${tree.resumed_by && link(tree.resumed_by, "▸ was resumed in another tree")}
    ${tree.status === "interrupted" && !tree.resumed_by && html`<p class="paused">‖ It waits: nothing has resumed it yet.</p>`}
    ${tree.session &&
    html`<section>
      <h3>
        session <button class="link" onClick=${() => go({ q: inSession(tree.session) })}>${tree.session}</button>
      </h3>
      <ul class="session">
        ${rows.map(
          (row) => html`<li key=${row.id} aria-current=${row.id === tree.id ? "true" : undefined}>
            <${Status} status=${row.status} />
            <button class="link" onClick=${() => open(row.id)}>${row.name}</button>
            <time class="quiet">${clock(row.start)}</time>
            ${row.models.length > 0 && html`<span class="quiet">${usd(row.usd, row.unpriced)}</span>`}
          </li>`,
        )}
      </ul>
    </section>`}`;
}

/** How far each vendor is with the tree, with its words where it refused something. */
function Vendors({ tree, news }) {
  const [found, setFound] = useState({ vendors: [], error: null });
  const [again, setAgain] = useState(0);
  useEffect(() => {
    let current = true;
    api.get(`${api.tree(tree.id)}/delivery`).then(
      (answer) => current && setFound({ vendors: answer.vendors, error: null }),
      (error) => current && setFound({ vendors: [], error: error.message }),
    );
    return () => (current = false);
  }, [tree, again, news?.delivery && news]);
  return html`<section class="vendors">
    <h3>delivery</h3>
    ${found.error && html`<p class="bad">${found.error}</p>`}
    ${!tree.vendors.length && html`<p class="quiet">The tree names no vendor: it is recorded on this machine only.</p>`}
    ${found.vendors.map(
      (one) => html`<div class="vendor" key=${one.name}>
        <b>${one.vendor}</b> <span class=${`state ${one.state}`}>${one.state}</span>
        ${one.parked && html`<p class="bad">waits for other settings: ${one.parked}</p>`}
        ${one.letters.length > 0 && html`<${Letters} letters=${one.letters} onDone=${() => setAgain(again + 1)} />`}
      </div>`,
    )}
  </section>`;
}

function Clear({ tree, go, onChange }) {
  const [error, setError] = useState(null);
  const clear = async () => {
    try {
      await api.post("clear", { tree: tree.id });
      go({ tree: null, event: null });
      onChange();
    } catch (refused) {
      setError(refused.message);
    }
  };
  return html`<section>
    <${Sure} words="Delete this tree" onSure=${clear}
      sure="Its contents go from this machine; what still waits is not sent." />
    ${error && html`<p class="bad">${error}</p>`}
  </section>`;
}
