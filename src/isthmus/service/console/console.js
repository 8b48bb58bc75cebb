/* The page: starts its parts, keeps them up to date while it is seen, and asks for a key. */

import { forget, keep } from "./api.js";
import { by, write } from "./dom.js";
import * as domains from "./domains.js";
import * as live from "./live.js";
import * as runs from "./runs.js";
import * as trial from "./trial.js";

const EVERY = 2000; /* milliseconds */
const DOMAINS = 5; /* every so many times */
let beats = 0;
let paused = false;
let locked = false; /* a key is needed */

async function changed() {
  await Promise.all([runs.refresh(), domains.refresh()]);
  header();
}

function header() {
  const { retriever, ranker, version } = runs.served();
  const both = retriever && ranker;
  const what = both ? `${retriever} proposes, ${ranker} ranks` : `${retriever ?? ranker} alone`;
  write(by("served"), `${what}: version ${version}`);
}

async function begin() {
  await guarded(async () => {
    await changed();
    if (!(await live.refresh()).ready) throw new Error("The server is getting ready.");
    await trial.offer();
    document.documentElement.dataset.begun = "yes";
  });
}

async function beat() {
  if (!paused && !locked && !document.hidden) {
    await guarded(async () => {
      const stats = await live.refresh();
      if (document.documentElement.dataset.begun !== "yes") return begin();
      if (stats.version !== runs.served().version) return changed();
      return ++beats % DOMAINS === 0 ? domains.refresh() : null;
    });
  }
  setTimeout(beat, EVERY);
}

/* What goes wrong without anyone having done anything stands at the top until it goes well again. */
async function guarded(work) {
  try {
    await work();
    problem("");
  } catch (error) {
    problem(error.message ?? String(error));
    if (error.needsKey) ask();
  }
}

function problem(text) {
  by("problem").hidden = text === "";
  write(by("problem"), text);
}

function ask() {
  forget();
  locked = true;
  by("key-form").hidden = false;
  by("key").focus();
}

by("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keep(by("key").value.trim());
  by("key").value = "";
  by("key-form").hidden = true;
  locked = false;
  begin();
});

by("pause").addEventListener("click", () => {
  paused = !paused;
  by("pause").setAttribute("aria-pressed", String(paused));
});

domains.start();
runs.start(changed);
trial.start();
await begin();
beat();
