// Asking the server. Paths are relative to the page, which may be mounted anywhere.

export class Refused extends Error {}

async function answer(path, options) {
  let reply;
  try {
    reply = await fetch(new URL(path, document.baseURI.split("#")[0]), options);
  } catch {
    throw new Refused("The server does not answer: eventtree view has stopped.");
  }
  const text = await reply.text();
  if (reply.ok) return JSON.parse(text);
  let words = text.trim();
  try {
    words = JSON.parse(text).error;
  } catch {
    // It is plain text: the words of a guard.
  }
  throw new Refused(words || `status ${reply.status}`);
}

export function get(path, params = {}) {
  const given = Object.entries(params).filter(([, value]) => value != null && value !== "");
  return answer(`api/${path}${given.length ? `?${new URLSearchParams(given)}` : ""}`);
}

export const post = (path, body) =>
  answer(`api/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Eventtree": "1" },
    body: JSON.stringify(body),
  });

export const tree = (id) => `trees/${encodeURIComponent(id)}`;
export const event = (id, eventId) => `${tree(id)}/events/${encodeURIComponent(eventId)}`;

/** Hear of changes: `{trees: [id], all, delivery}`. A stream has `begun`: look at all again, in place. */
export function live(onNews, onState) {
  const stream = new EventSource(new URL("api/live", document.baseURI.split("#")[0]));
  stream.onopen = () => onState(true);
  stream.onerror = () => onState(false);
  stream.onmessage = (message) => onNews(JSON.parse(message.data));
  return () => stream.close();
}

/** Do it soon, and not again before `gap` milliseconds have passed; `state` is kept between the calls. */
export function soon(state, gap, work) {
  state.work = work; // the newest knows best
  if (state.timer) return;
  const wait = Math.max(0, (state.at ?? -Infinity) + gap - performance.now());
  state.timer = setTimeout(async () => {
    state.timer = null;
    await state.work();
    state.at = performance.now();
  }, wait);
}
