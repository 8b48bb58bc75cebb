"use strict";

/* Sorting: undefined figures stand last in either direction, equal ones keep the table's order. */
const sortable = document.querySelector("table.sortable");

function sortBy(header, ascending) {
  const column = header.cellIndex;
  const numeric = header.dataset.kind === "number";
  const body = sortable.tBodies[0];
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

function filterRows() {
  const wanted = document.getElementById("filter-name").value.trim().toLowerCase();
  const checked = document.querySelectorAll("input[name=verdict]:checked");
  const verdicts = new Set(Array.from(checked, (box) => box.value));
  const rows = Array.from(sortable.tBodies[0].rows);
  for (const row of rows) {
    row.hidden = !(row.dataset.name.includes(wanted) && verdicts.has(row.dataset.verdict));
  }
  const shown = rows.filter((row) => !row.hidden).length;
  document.getElementById("shown").textContent = `${shown} of ${rows.length} domains`;
}

if (sortable) {
  for (const button of sortable.tHead.querySelectorAll("button")) {
    const header = button.closest("th");
    button.addEventListener("click", () => {
      const first = header.classList.contains("number") ? "descending" : "ascending";
      const now = header.getAttribute("aria-sort");
      const next = now === null ? first : now === "ascending" ? "descending" : "ascending";
      sortBy(header, next === "ascending");
    });
  }
  const form = document.querySelector("form.filters");
  if (form) {
    form.addEventListener("input", filterRows);
    form.addEventListener("submit", (event) => event.preventDefault());
    filterRows(); /* a reloaded page keeps what was typed */
  }
}

for (const place of document.querySelectorAll(".waiting")) place.textContent = "Drawing…";

/* Pictures: SVG takes the page's custom properties as they are, a canvas needs their values. */
function resolved(value) {
  const style = getComputedStyle(document.documentElement);
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const filled = text.replace(/var\((--\w+)\)/g, (_, name) => style.getPropertyValue(name).trim());
  return typeof value === "string" ? filled : JSON.parse(filled);
}

const narrow = matchMedia("(max-width: 40rem)");
const dark = matchMedia("screen and (prefers-color-scheme: dark)");

function settings(config) {
  if (!narrow.matches) return config;
  return {
    ...config,
    axis: { ...config.axis, labelLimit: 110 },
    legend: { ...config.legend, columns: 2, layout: { top: { direction: "vertical" } } },
  };
}

async function draw(key, picture, config) {
  const place = document.querySelector(`[data-picture="${key}"]`);
  const wanted = settings(config);
  const [spec, theme] = picture.dense ? resolved([picture.spec, wanted]) : [picture.spec, wanted];
  try {
    await vegaEmbed(place, spec, {
      renderer: picture.dense ? "canvas" : "svg",
      actions: false,
      config: theme,
      defaultStyle: false,
      tooltip: { disableDefaultStyle: true },
    });
    document.querySelector(`[data-save="${key}"]`).hidden = false;
  } catch (error) {
    place.textContent = `This picture could not be drawn: ${error.message}`;
    console.error(error);
  }
}

function save(key) {
  const place = document.querySelector(`[data-picture="${key}"]`);
  const canvas = place.querySelector("canvas");
  const link = document.createElement("a");
  if (canvas) {
    link.href = canvas.toDataURL("image/png");
    link.download = `${key}.png`;
  } else {
    const text = resolved(place.querySelector("svg").outerHTML);
    link.href = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
    link.download = `${key}.svg`;
  }
  link.click();
}

window.isthmusDraw = async () => {
  const { config, pictures } = JSON.parse(document.getElementById("report-charts").textContent);
  const drawAll = async (wanted) => {
    for (const [key, picture] of Object.entries(pictures)) {
      if (wanted(picture)) await draw(key, picture, config);
    }
  };
  for (const button of document.querySelectorAll("[data-save]")) {
    button.addEventListener("click", () => save(button.dataset.save));
  }
  await drawAll(() => true);
  narrow.addEventListener("change", () => drawAll(() => true));
  dark.addEventListener("change", () => drawAll((picture) => picture.dense));
  document.documentElement.dataset.drawn = "yes";
};
