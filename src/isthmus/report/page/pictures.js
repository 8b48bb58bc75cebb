"use strict";

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

/* The specification with the rows of these domains alone; its height goes by their number. */
function narrowed(spec, shown) {
  const copy = structuredClone(spec);
  let rows = 0;
  for (const [name, values] of Object.entries(copy.datasets ?? {})) {
    if (values.some((value) => "domain" in value)) {
      copy.datasets[name] = values.filter((value) => shown.has(value.domain));
    }
  }
  const visit = (part) => {
    const names = part.field === "domain" && part.scale?.domain;
    if (Array.isArray(names)) {
      rows = names.length;
      part.scale.domain = names.filter((name) => shown.has(name));
    }
    for (const child of Object.values(part)) {
      if (child && typeof child === "object" && child !== copy.datasets) visit(child);
    }
  };
  visit(copy);
  const kept = new Set(Object.values(copy.datasets ?? {}).flat().map((value) => value.domain));
  kept.delete(undefined);
  if (rows) copy.height = (copy.height / rows) * Math.max(kept.size, 1);
  return kept.size ? copy : null;
}

async function draw(key, picture, config) {
  const place = document.querySelector(`[data-picture="${key}"]`);
  const wanted = settings(config);
  const shown = picture.byDomain ? window.isthmusShown : null;
  const whole = shown ? narrowed(picture.spec, shown) : picture.spec;
  document.querySelector(`[data-save="${key}"]`).hidden = !whole;
  if (!whole) {
    place.textContent = "None of the domains that the filter leaves has a mark here.";
    return;
  }
  const [spec, theme] = picture.dense ? resolved([whole, wanted]) : [whole, wanted];
  try {
    await vegaEmbed(place, spec, {
      renderer: picture.dense ? "canvas" : "svg",
      actions: false,
      config: theme,
      defaultStyle: false,
      tooltip: { disableDefaultStyle: true },
    });
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
  let waiting, drawing = drawAll(() => true);
  const follow = () => {
    clearTimeout(waiting);
    document.documentElement.dataset.drawn = "no";
    waiting = setTimeout(() => {
      drawing = drawing.then(() => drawAll((picture) => picture.byDomain)).then(() => {
        document.documentElement.dataset.drawn = "yes";
      });
    }, 150);
  };
  window.addEventListener("isthmus-filter", follow);
  await drawing;
  narrow.addEventListener("change", () => drawAll(() => true));
  dark.addEventListener("change", () => drawAll((picture) => picture.dense));
  if (document.documentElement.dataset.drawn !== "no") document.documentElement.dataset.drawn = "yes";
};
