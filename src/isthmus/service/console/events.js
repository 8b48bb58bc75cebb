/* The recent events of a user, by domain: the domain of the newest first. */

import { by, make } from "./dom.js";
import { moment, plural } from "./words.js";

const OPEN = 3; /* domains whose events are shown at once */

export function show(user) {
  by("events").replaceChildren(...(user === null ? [note("Nobody is named.")] : groups(user)));
}

const note = (text) => make("p", { class: "note" }, text);

function groups({ domains, forgotten }) {
  const newest = (events) => events.at(-1).time ?? Infinity;
  const sorted = Object.entries(domains).sort(([, a], [, b]) => newest(b) - newest(a));
  const made = sorted.map(([domain, events], place) => group(domain, events, place < OPEN));
  if (forgotten) made.unshift(note("This user was deleted: what the data knew is used no more."));
  else if (made.length === 0) made.push(note("There are none yet. Record one, and what is recommended changes."));
  return made;
}

function group(domain, events, open) {
  const lines = events.toReversed().map((event) => {
    const details = [moment(event.time), event.source === "events" ? "kept here" : "", event.value === 0 ? "not taken" : ""];
    return make("li", {}, event.item, make("small", {}, details.filter(Boolean).join(", ")));
  });
  const summary = make("summary", {}, domain || "no domain", make("small", {}, plural(events.length, "event")));
  return make("details", { open }, summary, make("ul", {}, ...lines));
}
