/* The server's JSON. A refusal becomes an error whose message can be shown as it is. */

const KEY = "isthmus-key";
const REFUSED_KEY = new Set(["no_key", "wrong_key"]);

export class Refused extends Error {
  constructor(message, { code = "", key = false } = {}) {
    super(message);
    this.code = code;
    this.needsKey = key;
  }
}

export const hasKey = () => sessionStorage.getItem(KEY) !== null;
export const keep = (key) => sessionStorage.setItem(KEY, key);
export const forget = () => sessionStorage.removeItem(KEY);

export const get = (path) => call("GET", path);
export const post = (path, body) => call("POST", path, body);

export async function call(method, path, body) {
  return (await reply(method, path, body)).json();
}

/* The reply itself. Throws Refused, also where no server answers. */
export async function reply(method, path, body) {
  const headers = {};
  if (hasKey()) headers.authorization = `Bearer ${sessionStorage.getItem(KEY)}`;
  if (method === "POST") headers["content-type"] = "application/json";
  let found;
  try {
    found = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Refused("The server does not answer. Is it still running?", { code: "no_answer" });
  }
  if (!found.ok) throw refused(found.status, await found.json().catch(() => ({})));
  return found;
}

function refused(status, { error }) {
  if (!error) return new Refused(`The server answered with status ${status}.`);
  const details = (error.details ?? [])
    .filter((one) => one.message && one.message !== error.message)
    .map((one) => (one.where ? `${one.where}: ${one.message}` : one.message));
  const text = [error.message, ...details].join("; ");
  const sentence = text[0].toUpperCase() + text.slice(1);
  return new Refused(`${sentence} (${error.code})`, { code: error.code, key: REFUSED_KEY.has(error.code) });
}
