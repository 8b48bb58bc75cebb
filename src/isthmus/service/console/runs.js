/* What is served, and the change to other runs and back, each after a question. */

import { get, hasKey, post, reply } from "./api.js";
import { confirmed } from "./confirm.js";
import { by, describe, make, say } from "./dom.js";

const MOST = 2;
let found = null;
let busy = false;

export async function refresh() {
  found = await get("/v1/admin/runs");
  describe(by("loaded"), [
    ["Retriever", found.current.retriever ?? "none: candidates are ranked as they are found"],
    ["Ranker", found.current.ranker ?? "none: the retriever’s order stays"],
    ["Version", found.current.version],
    ["SHA-256", found.current.digest],
    ["Before", found.previous ? `${named(found.previous)}, version ${found.previous.version}` : "nothing"],
  ]);
  by("report").hidden = !found.report;
  by("back").setAttribute("aria-disabled", String(found.previous === null));
  const none = found.available.length === 0;
  by("no-runs").hidden = !none;
  for (const id of ["choice", "swap"]) by(id).hidden = none;
  document.querySelector("#available tbody").replaceChildren(...found.available.map(row));
}

export const served = () => found.current;

export const named = ({ retriever, ranker }) => [retriever, ranker].filter(Boolean).join(" and ");

/* `changed()` is called when other runs are served. */
export function start(changed) {
  by("runs-form").addEventListener("submit", (event) => {
    event.preventDefault();
    alone(() => swap(changed));
  });
  by("back").addEventListener("click", () => alone(() => rollBack(changed)));
  by("report").firstElementChild.addEventListener("click", download);
}

function row({ path, model, finished, packed }) {
  const usable = finished && packed;
  const state = path === found.current.retriever || path === found.current.ranker
    ? "served now"
    : usable ? "ready" : finished ? "not packed: isthmus pack" : "not finished";
  const box = make("input", { type: "checkbox", value: path, disabled: !usable, "aria-label": `Serve ${path}` });
  return make("tr", {}, make("td", {}, box), make("th", { scope: "row" }, path), make("td", {}, model), make("td", {}, state));
}

/* One change at a time. */
async function alone(change) {
  if (busy) return;
  busy = true;
  try {
    await change();
  } catch (error) {
    say(by("runs-said"), `Nothing changed. ${error.message}`, { bad: true });
  } finally {
    busy = false;
  }
}

async function swap(changed) {
  const runs = Array.from(document.querySelectorAll("#available input:checked"), (box) => box.value);
  if (runs.length === 0 || runs.length > MOST) {
    say(by("runs-said"), "Choose one run, or a retriever’s and a ranker’s.", { bad: true });
    return;
  }
  const text = `${runs.join(" and ")} instead of ${named(found.current)}. Requests under way are answered by what is served now.`;
  if (!(await confirmed("Serve other runs?", text, "Serve them"))) return;
  say(by("runs-said"), "Loading and warming up …");
  await done(await post("/v1/admin/load", { runs }), changed);
}

async function rollBack(changed) {
  if (found.previous === null) {
    say(by("runs-said"), "There is nothing to roll back to.", { bad: true });
    return;
  }
  const text = `${named(found.previous)}, version ${found.previous.version}, instead of ${named(found.current)}.`;
  if (!(await confirmed("Roll back?", text, "Roll back"))) return;
  await done(await post("/v1/admin/rollback", {}), changed);
}

async function done({ current }, changed) {
  say(by("runs-said"), `Now served: ${named(current)}, version ${current.version}.`);
  await changed();
}

/* A link cannot send a key: with one, the report is fetched and kept as a file. */
async function download(event) {
  if (!hasKey()) return;
  event.preventDefault();
  try {
    const address = URL.createObjectURL(await (await reply("GET", "/v1/report")).blob());
    make("a", { href: address, download: "report.html" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  } catch (error) {
    say(by("runs-said"), error.message, { bad: true });
  }
}
