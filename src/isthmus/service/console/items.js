/* The items of a reply, with the scores of both stages and why. */

import { by, make } from "./dom.js";
import { percent, score, signed } from "./words.js";

const REASONS = 3;
const LEAST = 0.0005; /* what less is would be shown as nothing */

/* `took(item, domain)` is called for an item that the user takes; null: nobody is named. */
export function show(reply, took) {
  by("flags").replaceChildren(...notes(reply).map((note) => make("li", {}, note)));
  const rows = reply.items.map((item) => row(item, took));
  document.querySelector("#items tbody").replaceChildren(...rows);
}

function row(one, took) {
  const place = one.retrieval_rank === null ? "" : `place ${one.retrieval_rank}`;
  const name = make("th", { scope: "row" }, one.item, one.known ? null : make("small", {}, "the last stage does not know it"));
  return make(
    "tr",
    {},
    make("td", { class: "number" }, `${one.rank}`),
    name,
    make("td", {}, one.domain),
    make("td", { class: "number" }, score(one.score)),
    make("td", { class: "number" }, score(one.retrieval_score), make("small", {}, place)),
    make("td", { class: "why" }, ...reasons(one.why)),
    make("td", {}, took ? button(one, took) : ""),
  );
}

function button({ item, domain }, took) {
  const made = make("button", { type: "button", "aria-label": `Record that they took ${item}` }, "Took it");
  made.addEventListener("click", () => {
    by("h-items").focus();
    took(item, domain);
  });
  return made;
}

function reasons(why) {
  if (why === null) return [];
  const made = why.events.filter(({ weight }) => weight >= LEAST).slice(0, REASONS).map(({ event, weight }) =>
    make("div", {}, `${event.item} `, make("small", {}, event.domain), ` ${signed(weight)}`));
  if (why.fallback) made.push(make("div", {}, `by ${why.fallback}`));
  else if (made.length === 0) made.push(make("div", {}, "no recent event speaks for it"));
  if (why.edges.length) {
    const all = why.edges.every((share) => share === 1);
    made.push(make("small", {}, `mask keeps ${all ? "all" : why.edges.map(percent).join(", ")}`));
  }
  return made;
}

/* What the reply says of the request as a whole. */
function notes({ flags, fewer }) {
  const listed = (names) => names.slice(0, 5).join(", ") + (names.length > 5 ? ", …" : "");
  return [
    flags.unknown_user && "Nothing is known of this user.",
    flags.unknown_domains.length && `Unknown domain: ${listed(flags.unknown_domains)}.`,
    flags.unknown_items.length && `Unknown items: ${listed(flags.unknown_items)}.`,
    flags.misplaced_items.length && `Of another domain than the user's events say: ${listed(flags.misplaced_items)}.`,
    flags.fallback && `Candidates by ${flags.fallback}, whoever asks.`,
    fewer && `Fewer: ${fewer}.`,
  ].filter(Boolean);
}
