/* Pictures of the last minutes as inline SVG; their colours come from the style sheet. */

export const SPAN = 300; /* seconds */
const HEIGHT = 180;
const LEFT = 44;
const RIGHT = 8;
const TOP = 22;
const BOTTOM = 22;
const GAP = 6; /* seconds without a value that a line still crosses */

/* series: {name, kind: "line" | "bars", points: [[second, value]]}; `title` stands for the picture
   where it is not seen. The last second is the right edge. */
export function draw(place, { title, series, end }) {
  const width = Math.max(240, place.clientWidth);
  const highest = nice(Math.max(1, ...series.flatMap((one) => one.points.map(([, value]) => value))));
  const x = (at) => LEFT + ((at - end + SPAN) / SPAN) * (width - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - (value / highest) * (HEIGHT - TOP - BOTTOM);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img" });
  const name = svg("title");
  name.textContent = title;
  picture.append(name, ...axes(x, y, highest, end, width), ...legend(series));
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

/* The next of 1, 2, 5, 10, 20, … that is not below. */
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((bound) => bound >= value);
}

function axes(x, y, highest, end, width) {
  const made = [];
  for (const value of [0, highest / 2, highest]) {
    made.push(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }));
    made.push(text(`${value}`, { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }));
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
  points.forEach(([at, value], place) => {
    const joined = place > 0 && at - points[place - 1][0] <= GAP;
    path += `${joined ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    group.append(svg("circle", { cx: x(at).toFixed(1), cy: y(value).toFixed(1), r: 2 }));
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
