/* Figures and times as words. */

const whole = new Intl.NumberFormat("en");

export const count = (value) => whole.format(value);

export const plural = (value, word) => `${count(value)} ${word}${value === 1 ? "" : "s"}`;

export const score = (value) => (value === null ? "–" : value.toFixed(4));

export const milliseconds = (value) =>
  value === null ? "–" : `${value < 10 ? value.toFixed(1) : count(Math.round(value))} ms`;

export const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;

export const percent = (share) => `${Math.round(100 * share)} %`;

/* The time of an event: data may count in a unit of its own, which no date can be made of. */
export function moment(time) {
  if (time === null) return "";
  if (time < 1e8 || time > 1e11) return `time ${count(time)}`;
  return new Date(1000 * time).toISOString().slice(0, 16).replace("T", " ");
}

export function duration(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}
