/* The table of domains: filtered, sorted, its traffic kept up to date. */

import { get } from "./api.js";
import { by, make, write } from "./dom.js";
import { count } from "./words.js";

const VERDICTS = ["hurt", "gains", "unchanged", "not measurable", ""];
const COLUMNS = ["name", "items", "stages", "verdict", "requests", "recommended", "events"];
const NUMBERS = new Set(["items", "requests", "recommended", "events"]);
const rows = new Map();

export async function refresh() {
  const found = (await get("/v1/domains")).domains.map(flat);
  if (found.length !== rows.size || found.some((one) => !rows.has(one.name))) build(found);
  for (const one of found) fill(rows.get(one.name), one);
}

export function start() {
  by("filter-form").addEventListener("input", filter);
  by("filter-form").addEventListener("submit", (event) => event.preventDefault());
  for (const button of document.querySelectorAll("#domain-table thead button")) {
    button.addEventListener("click", () => turn(button.closest("th")));
  }
}

function flat({ name, items, retriever, ranker, verdict, traffic }) {
  const stages = retriever && ranker ? "both stages" : retriever ? "the retriever" : "the ranker";
  return { name, items, stages, verdict: verdict ?? "", ...traffic };
}

function build(domains) {
  rows.clear();
  for (const { name } of domains) {
    const cells = COLUMNS.slice(1).map((key) => make("td", { class: NUMBERS.has(key) ? "number" : "" }));
    const row = make("tr", {}, make("th", { scope: "row" }, name), ...cells);
    rows.set(name, { row, folded: name.toLowerCase(), values: {} });
  }
  document.querySelector("#domain-table tbody").replaceChildren(...all());
  by("known-domains").replaceChildren(...domains.map(({ name }) => make("option", { value: name })));
  by("verdicts").hidden = domains.every((one) => one.verdict === "");
  for (const [name, entry] of rows) fill(entry, domains.find((one) => one.name === name));
  filter();
  const sorted = document.querySelector("#domain-table [aria-sort]");
  if (sorted) sort(sorted.dataset.key, sorted.getAttribute("aria-sort"));
}

const all = () => Array.from(rows.values(), (entry) => entry.row);

function fill(entry, values) {
  entry.values = values;
  COLUMNS.slice(1).forEach((key, at) => {
    const cell = entry.row.cells[at + 1];
    if (key === "verdict") mark(cell, values.verdict);
    else write(cell, NUMBERS.has(key) ? count(values[key]) : values[key]);
  });
}

function mark(cell, verdict) {
  if (cell.dataset.verdict === verdict) return;
  cell.dataset.verdict = verdict;
  const shown = verdict === "" ? "–" : make("span", { class: `verdict ${verdict.replace(" ", "-")}` }, verdict);
  cell.replaceChildren(shown);
}

function filter() {
  const wanted = by("filter").value.trim().toLowerCase();
  const boxes = document.querySelectorAll("#verdicts input:checked");
  const verdicts = by("verdicts").hidden ? null : new Set(Array.from(boxes, (box) => box.value));
  let shown = 0;
  for (const { row, folded, values } of rows.values()) {
    row.hidden = !folded.includes(wanted) || (verdicts !== null && !verdicts.has(values.verdict));
    shown += !row.hidden;
  }
  write(by("shown"), `${count(shown)} of ${count(rows.size)} domains`);
}

/* Figures begin with the highest, names with the first. */
function turn(heading) {
  const now = heading.getAttribute("aria-sort");
  const first = NUMBERS.has(heading.dataset.key) ? "descending" : "ascending";
  const next = now === null ? first : now === "ascending" ? "descending" : "ascending";
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", next);
  sort(heading.dataset.key, next);
}

function sort(key, direction) {
  const sign = direction === "ascending" ? 1 : -1;
  const of = ({ values }) => (key === "verdict" ? VERDICTS.indexOf(values.verdict) : values[key]);
  const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, "en"));
  const sorted = [...rows.values()].sort((a, b) => sign * compare(of(a), of(b)));
  document.querySelector("#domain-table tbody").append(...sorted.map((entry) => entry.row));
}
