/* Elements: found, made and filled. Text is only ever set as text. */

export const by = (id) => document.getElementById(id);

/* An element with properties (`class`, `dataset` and attributes with a dash too) and children. */
export function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") made.className = value;
    else if (name.includes("-") || name === "scope") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/* Set a text, and touch nothing where it is there already: what is read or selected stays. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/* The answer to what somebody did; said aloud where the element is a live region. */
export function say(element, text, { bad = false } = {}) {
  element.classList.toggle("problem", bad);
  element.textContent = text;
}

/* Fill a description list with [term, description]; its elements stay while the terms do. */
export function describe(list, pairs) {
  const terms = Array.from(list.querySelectorAll("dt"), (term) => term.textContent);
  if (terms.join("\n") !== pairs.map(([term]) => term).join("\n")) {
    list.replaceChildren(...pairs.map(([term]) => make("div", {}, make("dt", {}, term), make("dd"))));
  }
  list.querySelectorAll("dd").forEach((place, at) => write(place, pairs[at][1]));
}
