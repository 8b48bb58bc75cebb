/* Pictures of the last minutes as inline SVG; their colours come from the style sheet. */

export const SPAN = 300; /* seconds */
const HEIGHT = 180;
const LEFT = 44;
const RIGHT = 8;
const TOP = 22;
const BOTTOM = 22;
const GAP = 6; /* seconds without a value that a line still crosses */

/* series: {name, key, kind: "line" | "bars", points: [[second, value]]}, `key` is its class; `title`
   stands for the picture where it is not seen. The last second is the right edge. */
export function draw(place, { title, series, end, scale = linear }) {
  const width = Math.max(240, place.clientWidth);
  const { share, ticks } = scale(series.flatMap((one) => one.points.map(([, value]) => value)));
  const x = (at) => LEFT + ((at - end + SPAN) / SPAN) * (width - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - share(value) * (HEIGHT - TOP - BOTTOM);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img" });
  const name = svg("title");
  name.textContent = title;
  picture.append(name, ...axes(x, y, ticks, end, width), ...legend(series));
  for (const one of series) picture.append(one.kind === "bars" ? bars(one, x, y) : line(one, x, y));
  place.replaceChildren(picture);
}

function svg(tag, attributes = {}) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function text(words, attributes) {
  const made = svg("text", attributes);
  made.textContent = words;
  return made;
}

/* From 0 to the next of 1, 2, 5, 10, 20, … that is not below. */
function linear(values) {
  const most = Math.max(1, ...values);
  const power = 10 ** Math.floor(Math.log10(most));
  const highest = [1, 2, 5, 10].map((step) => step * power).find((bound) => bound >= most);
  return { share: (value) => value / highest, ticks: [0, highest / 2, highest] };
}

/* Whole powers of ten, two at least: one slow second does not flatten all others. */
export function logarithmic(values) {
  const known = values.length ? values : [1];
  const low = Math.floor(Math.log10(Math.min(...known)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...known))));
  const ticks = Array.from({ length: high - low + 1 }, (_, step) => Number(`1e${low + step}`));
  return { share: (value) => (Math.log10(value) - low) / (high - low), ticks };
}

function axes(x, y, ticks, end, width) {
  const made = [];
  for (const value of ticks) {
    made.push(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }));
    made.push(text(value.toLocaleString("en"), { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }));
  }
  for (const minutes of [5, 4, 3, 2, 1]) {
    made.push(text(`−${minutes} min`, { x: x(end - 60 * minutes), y: HEIGHT - 5, "text-anchor": minutes === 5 ? "start" : "middle" }));
  }
  made.push(text("now", { x: x(end), y: HEIGHT - 5, "text-anchor": "end" }));
  return made;
}

function legend(series) {
  let left = LEFT;
  return series.flatMap(({ name, key }) => {
    const made = [
      svg("rect", { class: `key ${key}`, x: left, y: 5, width: 14, height: 5 }),
      text(name, { x: left + 20, y: 12 }),
    ];
    left += 40 + 7 * name.length;
    return made;
  });
}

function line({ key, points }, x, y) {
  const group = svg("g", { class: key });
  let path = "";
  const near = (one, other) => one && other && Math.abs(one[0] - other[0]) <= GAP;
  points.forEach((point, place) => {
    const [left, top] = [x(point[0]).toFixed(1), y(point[1]).toFixed(1)];
    const joined = near(points[place - 1], point);
    path += `${joined ? "L" : "M"}${left} ${top}`;
    if (!joined && !near(point, points[place + 1])) group.append(svg("circle", { cx: left, cy: top, r: 2.5 }));
  });
  group.prepend(svg("path", { d: path, fill: "none" }));
  return group;
}

function bars({ key, points }, x, y) {
  const group = svg("g", { class: key });
  const width = Math.max(1.5, x(1) - x(0) - 0.5);
  for (const [at, value] of points.filter(([, value]) => value > 0)) {
    const top = y(value);
    group.append(svg("rect", { x: (x(at) - width).toFixed(1), y: top.toFixed(1), width: width.toFixed(1), height: (y(0) - top).toFixed(1) }));
  }
  return group;
}
