// Figures as people read them. What is unknown says so: it is never shown as 0.

export const UNKNOWN = "unknown";

export const count = (value) => (value == null ? UNKNOWN : value.toLocaleString("en-US"));

export function short(value) {
  if (value == null) return UNKNOWN;
  if (value < 10_000) return count(value);
  return value < 1e6 ? `${(value / 1e3).toFixed(value < 1e5 ? 1 : 0)}k` : `${(value / 1e6).toFixed(1)}M`;
}

/** Dollars: six digits below a cent; `least` where some part has no price. */
export function usd(value, least = 0) {
  if (value == null) return UNKNOWN;
  const digits = value === 0 ? 2 : value < 0.01 ? 6 : value < 1 ? 4 : 2;
  return `${least ? "≥ " : ""}$${value.toFixed(digits)}`;
}

export function seconds(value) {
  if (value == null) return UNKNOWN;
  if (value < 0.9995) return `${(value * 1000).toFixed(value < 0.01 ? 1 : 0)} ms`;
  if (value < 60) return `${value.toFixed(2)} s`;
  const whole = Math.round(value);
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} m`;
}

export function bytes(value) {
  if (value == null) return UNKNOWN;
  if (value < 1024) return `${value} B`;
  return value < 1 << 20 ? `${(value / 1024).toFixed(1)} KB` : `${(value / (1 << 20)).toFixed(1)} MB`;
}

const two = (value) => String(value).padStart(2, "0");

/** Time of day, and the date where it is not today's. */
export function clock(epoch) {
  const at = new Date(epoch * 1000);
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return at.toDateString() === new Date().toDateString() ? time : `${day} ${time}`;
}

export const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

/** A text as a value of the filter that means this text and no other. */
const quoted = (text) => `"${text.replace(/\\/g, "\\\\").replace(/"/g, '\\"')}"`;

export const inSession = (session) => `session:${quoted(session)}`;

/** Status → its sign and its meaning. The signs differ by shape, not by colour alone. */
export const STATUSES = {
  ok: ["●", "ended well"],
  error: ["✕", "failed"],
  interrupted: ["‖", "paused: it waits for an answer"],
  cancelled: ["⊘", "cancelled"],
  incomplete: ["◌", "its end was never recorded"],
  running: ["▸", "still running"],
};
