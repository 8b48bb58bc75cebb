/* Latencies and errors as they are: figures, two pictures, and the same as a table. */

import { get } from "./api.js";
import { SPAN, draw, logarithmic } from "./chart.js";
import { by, describe, make, write } from "./dom.js";
import { count, duration, milliseconds, plural } from "./words.js";

/* Ask for the measures and show them; they are returned. */
export async function refresh() {
  const stats = await get("/v1/stats");
  describe(by("figures"), figures(stats));
  const end = stats.seconds.at(-1)?.at ?? 0;
  latency(stats.seconds, end);
  errors(stats.seconds, end);
  table(minutes(stats.seconds, end));
  return stats;
}

function figures(stats) {
  const failed = Object.entries(stats.errors);
  return [
    ["p50", milliseconds(stats.p50)],
    ["p90", milliseconds(stats.p90)],
    ["p99", milliseconds(stats.p99)],
    ["Requests", count(stats.requests)],
    ["Errors", failed.length ? failed.map(([status, n]) => `${count(n)}\u00a0×\u00a0${status}`).join(", ") : "none"],
    ["To compute", count(stats.waiting)],
    ["To be written", count(stats.backlog)],
    ["Up", duration(stats.uptime)],
  ];
}

const highest = (seconds, key) => Math.max(...seconds.map((one) => one[key]).filter((value) => value !== null));

function latency(seconds, end) {
  const timed = seconds.filter((one) => one.p50 !== null);
  const summary = timed.length
    ? `Worst second: p50 ${milliseconds(highest(timed, "p50"))}, p99 ${milliseconds(highest(timed, "p99"))}.`
    : "Nothing was recommended or ranked in the last five minutes.";
  const of = (key) => timed.map((one) => [one.at, one[key]]);
  const series = ["p99", "p50"].map((key) => ({ name: key, key, kind: "line", points: of(key) }));
  show("latency", summary, { series, end, scale: logarithmic });
}

function errors(seconds, end) {
  const total = (key) => seconds.reduce((sum, one) => sum + one[key], 0);
  const of = (key) => seconds.map((one) => [one.at, one[key]]);
  const series = [
    { name: "requests", key: "requests", kind: "bars", points: of("requests") },
    { name: "errors", key: "failures", kind: "bars", points: of("errors") },
  ];
  const summary = `${plural(total("requests"), "request")}, ${plural(total("errors"), "error")}.`;
  show("errors", summary, { series, end });
}

function show(id, summary, picture) {
  const title = `${document.querySelector(`#${id} h3`).textContent}, last five minutes. ${summary}`;
  draw(document.querySelector(`#${id} .picture`), { title, ...picture });
  write(document.querySelector(`#${id} .summary`), summary);
}

function minutes(seconds, end) {
  return Array.from({ length: SPAN / 60 }, (_, ago) => {
    const within = seconds.filter(({ at }) => at <= end - 60 * ago && at > end - 60 * (ago + 1));
    const timed = within.filter((one) => one.p50 !== null);
    const worst = (key) => (timed.length ? milliseconds(highest(timed, key)).replace(" ms", "") : "–");
    const sum = (key) => count(within.reduce((total, one) => total + one[key], 0));
    return [ago === 0 ? "the last" : `${plural(ago, "minute")} before`, sum("requests"), sum("errors"), worst("p50"), worst("p99")];
  });
}

function table(rows) {
  const body = document.querySelector("#minutes tbody");
  if (body.rows.length !== rows.length) {
    const cells = () => [make("th", { scope: "row" }), ...Array.from({ length: 4 }, () => make("td", { class: "number" }))];
    body.replaceChildren(...rows.map(() => make("tr", {}, ...cells())));
  }
  rows.forEach((values, at) => values.forEach((value, column) => write(body.rows[at].cells[column], value)));
}
