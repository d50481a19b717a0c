// Delivery: what each vendor has got, what waits and why, and what it refused, with its own words.

import { html, useEffect, useState } from "./preact/standalone.module.js";
import * as api from "./api.js";
import { count } from "./format.js";
import { Letters } from "./parts.js";

export function Delivery({ go, news }) {
  const [found, setFound] = useState(null);
  const [again, setAgain] = useState(0);
  useEffect(() => {
    let current = true;
    api.get("delivery").then(
      (answer) => current && setFound(answer),
      (error) => current && setFound({ error: error.message }),
    );
    return () => (current = false);
  }, [news, again]);
  if (!found) return html`<main class="delivery" aria-busy="true"><p class="quiet">adding up …</p></main>`;
  if (found.error) return html`<main class="delivery"><p class="bad">${found.error}</p></main>`;
  const { report } = found;
  return html`<main class="delivery">
    <h2>delivery</h2>
    <p class="quiet">${count(report.events)} events in ${report.journal}</p>
    <${Totals} vendors=${report.vendors} />
    ${found.notes.map((note) => html`<p key=${note}>${note}</p>`)}
    <h2>dead letters</h2>
    ${found.dead > found.letters.length && html`<p class="quiet">the newest of ${count(found.dead)}</p>`}
    ${found.letters.length
      ? html`<${Letters} letters=${found.letters} onDone=${() => setAgain(again + 1)}
          onOpen=${(letter) => go({ page: null, tree: letter.tree, event: letter.events[0] ?? null })} />`
      : html`<p class="quiet">No vendor has refused anything.</p>`}
  </main>`;
}

function Totals({ vendors }) {
  const rows = Object.entries(vendors);
  if (!rows.length) return html`<p>No vendor: what is recorded stays on this machine.</p>`;
  return html`<table class="figures wide">
    <thead>
      <tr><th>vendor</th><th>accepted</th><th>delivered</th><th>waiting</th><th>dead</th><th>dropped</th><th></th></tr>
    </thead>
    <tbody>
      ${rows.map(
        ([name, sums]) => html`<tr key=${name}>
          <th scope="row">${name}</th>
          ${["accepted", "delivered", "waiting", "dead"].map(
            (what) => html`<td key=${what} class=${what === "dead" && sums.dead ? "bad" : ""}>${count(sums[what])}</td>`,
          )}
          <td>${Object.entries(sums.dropped).map(([reason, number]) => `${reason} ${count(number)}`).join(", ") || "0"}</td>
          <td>
            ${sums.parked && html`<span class="bad">waits for other settings: ${sums.parked}</span>`}
            ${sums.stalled != null && html`<span class="bad">process ${sums.stalled} holds the lock and does nothing</span>`}
            ${Object.keys(sums.feedback).length > 0 &&
            html`<span class="quiet">feedback: ${Object.entries(sums.feedback).map((pair) => pair.join(" ")).join(", ")}</span>`}
          </td>
        </tr>`,
      )}
    </tbody>
  </table>`;
}
