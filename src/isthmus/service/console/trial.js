/* Try a user: their events, what they are recommended and why, and what an event changes. */

import { get, post } from "./api.js";
import { by, make, say } from "./dom.js";
import { show as showEvents } from "./events.js";
import { show as showItems } from "./items.js";
import { milliseconds, plural } from "./words.js";

let asked = null; /* the request whose reply is shown */
let given = []; /* and its items */
let latest = 0;

export function start() {
  by("try-form").addEventListener("submit", (event) => {
    event.preventDefault();
    recommend(typed());
  });
  by("event-form").addEventListener("submit", (event) => {
    event.preventDefault();
    record(by("event-item").value.trim(), by("event-domain").value.trim());
  });
}

/* Offer users whom the data knew; show the first, so that the page begins with an example. */
export async function offer() {
  const { users } = await get("/v1/users");
  by("known-users").replaceChildren(...users.map((user) => make("option", { value: user })));
  const note = users.length ? ` Known to the data: ${users.slice(0, 5).join(", ")}.` : "";
  by("user-note").textContent = `Anyone may be tried: new users are served from their events.${note}`;
  if (users.length && asked === null && by("user").value === "") {
    by("user").value = users[0];
    await recommend(typed());
  }
}

function typed() {
  const user = by("user").value.trim();
  const domain = by("domain").value.trim();
  return {
    ...(user && { user }),
    domains: domain ? [domain] : [],
    k: by("k").valueAsNumber,
    exclude_seen: by("exclude").checked,
    explain: true,
  };
}

/* Show a request's reply; `before` is said first. An older reply that comes late is dropped. */
async function recommend(request, before = "") {
  const mine = ++latest;
  say(by("try-said"), `${before}Asking …`);
  try {
    const [reply, known] = await Promise.all([post("/v1/recommend", request), events(request.user)]);
    if (mine !== latest) return;
    const same = new Set(given.map(({ item, domain }) => JSON.stringify([item, domain])));
    const fresh = reply.items.filter(({ item, domain }) => !same.has(JSON.stringify([item, domain])));
    [asked, given] = [request, reply.items];
    by("found").hidden = false;
    showItems(reply, request.user ? (item, domain) => record(item, domain) : null);
    showEvents(known);
    by("event-form").hidden = !request.user;
    say(by("try-said"), before + summary(reply, request, before && fresh.length));
  } catch (error) {
    if (mine === latest) say(by("try-said"), before + error.message, { bad: true });
  }
}

const events = (user) => (user ? get(`/v1/users/${encodeURIComponent(user)}`) : Promise.resolve(null));

function summary(reply, { user }, changed) {
  const time = Object.values(reply.milliseconds).reduce((sum, part) => sum + part, 0);
  const whom = user ? `for ${user}` : "for nobody in particular";
  const others = changed === "" ? "" : ` ${changed || "None"} of them ${changed > 1 ? "are" : "is"} new.`;
  return `${plural(reply.items.length, "item")} ${whom} in ${milliseconds(time)} with reasons, by version ${reply.version}.${others}`;
}

/* Keep an event of the user who is shown, and recommend anew. */
async function record(item, domain) {
  const { user } = asked;
  say(by("try-said"), "Recording …");
  let warned = "";
  try {
    const time = Date.now() / 1000;
    const event = { id: identifier(), user, item, domain, time, kind: "console" };
    const { verdicts } = await post("/v1/events", { events: [event] });
    warned = verdicts[0].warning && `But ${verdicts[0].reason}. `;
  } catch (error) {
    say(by("try-said"), error.message, { bad: true });
    return;
  }
  by("event-item").value = "";
  await recommend(asked, `Kept: ${user} took ${item} of ${domain}. ${warned}`);
}

/* crypto.randomUUID is missing where a page does not come by HTTPS or from this machine. */
function identifier() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `console-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
