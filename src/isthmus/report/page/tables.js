"use strict";

/* Sorting: undefined figures stand last in either direction, equal ones keep the table's order. */
function sortBy(header, ascending) {
  const column = header.cellIndex;
  const numeric = header.dataset.kind === "number";
  const body = header.closest("table").tBodies[0];
  const keyed = Array.from(body.rows, (row) => {
    const text = row.cells[column].dataset.value;
    return { row, key: numeric ? Number(text) : text, missing: text === "" };
  });
  const sign = ascending ? 1 : -1;
  keyed.sort((a, b) => {
    if (a.missing || b.missing) return a.missing - b.missing;
    return sign * (numeric ? a.key - b.key : a.key.localeCompare(b.key));
  });
  body.append(...keyed.map((entry) => entry.row));
  for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
}

for (const button of document.querySelectorAll("table.sortable thead button")) {
  const header = button.closest("th");
  button.addEventListener("click", () => {
    const first = header.classList.contains("number") ? "descending" : "ascending";
    const now = header.getAttribute("aria-sort");
    const next = now === null ? first : now === "ascending" ? "descending" : "ascending";
    sortBy(header, next === "ascending");
  });
}

/* Filtering: by name and by the first table's verdict; all tables and pictures of domains follow. */
const filters = document.querySelector("form.filters");

function filterRows() {
  const wanted = document.getElementById("filter-name").value.trim().toLowerCase();
  const checked = document.querySelectorAll("input[name=verdict]:checked");
  const verdicts = new Set(Array.from(checked, (box) => box.value));
  const rows = Array.from(document.querySelectorAll("#domain-table tbody tr"));
  const shown = new Set();
  for (const { dataset } of rows) {
    if (dataset.name.includes(wanted) && verdicts.has(dataset.verdict)) shown.add(dataset.domain);
  }
  for (const row of document.querySelectorAll("table.filtered tbody tr")) {
    row.hidden = !shown.has(row.dataset.domain);
  }
  document.getElementById("shown").textContent = `${shown.size} of ${rows.length} domains`;
  window.isthmusShown = shown.size < rows.length ? shown : null;
  window.dispatchEvent(new Event("isthmus-filter"));
}

if (filters) {
  filters.addEventListener("input", filterRows);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filterRows(); /* a reloaded page keeps what was typed */
  const told = () => {
    document.documentElement.style.setProperty("--bar", `${filters.offsetHeight}px`);
  };
  new ResizeObserver(told).observe(filters); /* what sticks below it, and where anchors stop */
}
