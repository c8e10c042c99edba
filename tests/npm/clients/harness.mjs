// What every client program in JavaScript does: the checks of `tests/clients/programs/checks.py`, over a driver that
// spells one client's way to ask. Configured by the same CLIENT_... variables; prints a JSON line a check.

export const PIXEL =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const CLOSED_MS = 250; // within which an upstream call nobody waits for is closed
const ARRIVES_MS = 10_000; // far above what a busy machine needs for one request
const PATIENCE_MS = [250, 1000, 4000]; // of a client that waits no longer; the first that lets its call arrive counts
const CHECK_MS = 20_000;
const TRIES = 3; // of a check that was only late
const POLL_MS = 10;

// A driver is an object with
//   dialect, tells: {code, retryAfter} unless it tells both
//   ask(question) -> {text, calls, usage: [in, out]}
//   stream(question): yields pieces of text, then such an answer
//   parse(text) -> an object of city, people, capital
//   useTools(text, tools) -> an answer, where the client makes the calls itself
//   stop(answerId) -> status, with answerId set by stream, where its API can cancel
//   models() -> names; count(text) -> tokens, where its API can
//   failure(error) -> {status, code, retryAfter}, undefined for errors that are not the client's
//   timedOut(error), left(error) -> whether it says so
// A question is {text, image, tools, calls, outputs, signal}; a tool {name, description, parameters, run(place)}.

class Wrong extends Error {}

// A time was missed. A busy machine misses one by itself: such a check may be tried again.
class Late extends Wrong {}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const said = (row, tokens) => Array.from({ length: tokens }, (_, number) => `${row.salt}:${number} `).join("");

function same(found, wanted, what = "it") {
  const trimmed = (value) => (typeof value === "string" ? value.trim() : value); // some clients trim what they return
  const [left, right] = [found, wanted].map((value) => JSON.stringify(trimmed(value)));
  if (left !== right) throw new Wrong(`${what} is ${left}, not ${right}`);
}

async function collect(driver, question, pieces = []) {
  let answer;
  for await (const piece of driver.stream(question)) {
    if (typeof piece === "string") pieces.push(piece);
    else answer = piece;
  }
  if (!answer) throw new Wrong("the stream ended without an answer");
  return answer;
}

async function roundTrip(driver, text, tools) {
  if (driver.useTools) return driver.useTools(text, tools);
  const asked = { text, tools };
  const first = tools.length > 1 ? await collect(driver, asked) : await driver.ask(asked);
  const run = (call) => tools.find((tool) => tool.name === call.name).run(JSON.parse(call.arguments).place);
  return driver.ask({ ...asked, calls: first.calls, outputs: first.calls.map(run) });
}

class Log {
  constructor(upstream, since = 0) {
    this.url = `${upstream}/_log`;
    this.since = since;
  }

  async rows() {
    const text = await (await fetch(this.url)).text();
    return text.split("\n").filter(Boolean).slice(this.since).map((line) => JSON.parse(line));
  }

  async last() {
    const rows = await this.rows();
    if (!rows.length) throw new Wrong("no call reached the provider");
    return rows.at(-1);
  }

  async until(isSo) {
    const began = Date.now();
    for (;;) {
      const row = (await this.rows()).at(-1);
      if (row && isSo(row)) return row;
      const late = Date.now() - began > ARRIVES_MS;
      if (late) throw new Wrong(`waited in vain for the provider; it saw ${JSON.stringify(row)}`);
      await sleep(POLL_MS);
    }
  }
}

class Checks {
  constructor(make, settings, refuses) {
    this.make = make;
    this.settings = settings;
    this.main = make(settings);
    this.dialect = this.main.dialect;
    // `image` is refused in all dialects, `chat.image` in one.
    this.refuses = new Set(refuses.map((name) => name.replace(`${this.dialect}.`, "")));
    this.tells = { code: true, retryAfter: true, ...this.main.tells };
  }

  driver(changes) {
    return changes ? this.make({ ...this.settings, ...changes }) : this.main;
  }

  code(messages, others) {
    return this.dialect === "messages" ? messages : others;
  }

  async text() {
    const answer = await this.main.ask({ text: "n12 Tell me." });
    same(answer.text, said(await this.log.last(), 12));
  }

  async stream() {
    const pieces = [];
    const answer = await collect(this.main, { text: "n12 Tell me." }, pieces);
    same(pieces.join(""), said(await this.log.last(), 12));
    same(answer.text, pieces.join(""));
    if (pieces.length < 2) throw new Wrong(`the answer came in ${pieces.length} piece`);
  }

  async usage() {
    for (const streamed of [false, true]) {
      const question = { text: "n9 Count this." };
      const answer = await (streamed ? collect(this.main, question) : this.main.ask(question));
      const { usage } = await this.log.last();
      const kind = streamed ? "streamed" : "whole";
      if (!usage) throw new Wrong(`${kind}: the provider was not asked for a count`);
      same(answer.usage, [usage.input_tokens, usage.output_tokens], kind);
    }
  }

  async tools() {
    await this.useTools("get_weather");
  }

  async parallelTools() {
    await this.useTools("get_weather", "get_time");
  }

  async useTools(...names) {
    const used = [];
    const tools = names.map((name) => ({
      name,
      description: `Call ${name} for a place.`,
      parameters: {
        type: "object",
        properties: { place: { type: "string", description: "A city." } },
        required: ["place"],
        additionalProperties: false,
      },
      run: (place) => {
        used.push([name, place]);
        return `${name}: eleven`;
      },
    }));
    const text = "tool-call How is it in Oslo?";
    if (this.refuses.has("tools")) {
      await this.fails(() => roundTrip(this.main, text, tools), 400);
      return;
    }
    const answer = await roundTrip(this.main, text, tools);
    same(used.sort(), names.map((name) => [name, text]).sort(), "the calls");
    same(answer.text, said(await this.log.last(), 20));
    same((await this.log.rows()).length, 2, "calls of the provider");
  }

  async structured() {
    if (this.refuses.has("structured")) {
      await this.fails(() => this.main.parse("json Name a city."), 400);
      return;
    }
    const found = await this.main.parse("json Name a city.");
    same(found, { city: (await this.log.last()).salt, people: 7, capital: true });
  }

  async image() {
    const question = { text: "n5 What is this?", image: true };
    if (this.refuses.has("image")) {
      await this.fails(() => this.main.ask(question), 400);
      same(await this.log.rows(), [], "the provider's calls");
      return;
    }
    const answer = await this.main.ask(question);
    same(answer.text, said(await this.log.last(), 5)); // that it arrived is looked up at the provider's
  }

  async unauthorized() {
    await this.failsTwice({ key: "sk-wrong" }, 401, this.code("authentication_error", "invalid_api_key"));
  }

  async unknownModel() {
    await this.failsTwice({ model: "no-such-model" }, 404, this.code("not_found_error", "model_not_found"));
  }

  async failsTwice(changes, status, code) {
    const driver = this.driver(changes);
    await this.fails(() => driver.ask({ text: "n3 Hello." }), status, code);
    await this.fails(() => collect(driver, { text: "n3 Hello." }), status, code);
  }

  async busy() {
    const asked = () => this.main.ask({ text: "status-429 Hello." });
    const failure = await this.fails(asked, 429, this.code("rate_limit_error", "rate_limit_exceeded"));
    if (this.tells.retryAfter) same(failure.retryAfter, "2", "retry-after");
  }

  async badRequest() {
    const asked = () => this.main.ask({ text: "status-400 Hello." });
    await this.fails(asked, 400, this.code("invalid_request_error"));
  }

  async tooLong() {
    const asked = () => this.main.ask({ text: "context-length Hello." });
    await this.fails(asked, 400, this.code("invalid_request_error", "context_length_exceeded"));
  }

  async cancel() {
    const leaving = new AbortController();
    let seen = 0;
    let left;
    try {
      for await (const piece of this.main.stream({ text: "n100-d20 Go on.", signal: leaving.signal })) {
        if (typeof piece !== "string") break;
        if (++seen === 3) {
          left = Date.now();
          leaving.abort();
        }
      }
    } catch (error) {
      if (!this.main.left(error)) throw error;
    }
    if (seen < 3 || seen > 20) throw new Wrong(`${seen} pieces came`);
    await this.letGo(left);
  }

  async cancelWhole() {
    const leaving = new AbortController();
    const asked = this.main.ask({ text: "n100-d20 Go on.", signal: leaving.signal }).then(
      (answer) => answer,
      (error) => error,
    );
    const over = asked.then((early) => {
      throw new Wrong(`the request was over before it could be left: ${early}`);
    });
    over.catch(() => {});
    await Promise.race([over, this.log.until(() => true)]);
    const left = Date.now();
    leaving.abort();
    const ending = await asked;
    if (!this.main.left(ending)) throw new Wrong(`the client did not stop: ${ending}`);
    await this.letGo(left);
  }

  async timeout() {
    for (const timeoutMs of PATIENCE_MS) {
      const driver = this.driver({ timeoutMs });
      const began = Date.now();
      const ending = await driver.ask({ text: `n${0.4 * timeoutMs}-d20 Go on.` }).catch((error) => error);
      const left = Date.now();
      if (!driver.timedOut(ending)) throw new Wrong(`the client did not give up: ${ending}`);
      if (!(await this.log.rows()).length) continue;
      if (left - began > timeoutMs + 750) throw new Late(`the client waited ${left - began} ms`);
      return this.letGo(left);
    }
    throw new Wrong("no call reached the provider");
  }

  async stop() {
    for await (const _ of this.main.stream({ text: "endless-d20 Go on." })) {
      const stopped = Date.now();
      same(await this.main.stop(this.main.answerId), "cancelled", "the status");
      await this.closedSince(stopped);
      break;
    }
  }

  async models() {
    const names = await this.main.models();
    if (!names.some((name) => name.endsWith(this.settings.model))) throw new Wrong(`the models are ${names}`);
  }

  async count() {
    const short = await this.main.count("Tell me. ");
    const long = await this.main.count("Tell me. ".repeat(40));
    if (!(0 < short && short < long)) throw new Wrong(`the counts are ${short} and ${long}`);
  }

  // A Responses answer goes on when its reader leaves; any other's provider is told at once.
  async letGo(left) {
    if (this.dialect !== "responses") return this.closedSince(left);
    await sleep(left + CLOSED_MS + 50 - Date.now());
    const { outcome } = await this.log.last();
    if (outcome === "finished") throw new Late("the answer was over before its reader had left");
    same(outcome, "open", "an answer that its reader has left");
  }

  async closedSince(left) {
    const row = await this.log.until((row) => row.outcome !== "open");
    same(row.outcome, "closed-by-client", "the provider's call");
    const late = Math.round(row.ended_at * 1000 - left);
    if (late > CLOSED_MS) throw new Late(`the provider's call was closed ${late} ms after the client left`);
  }

  async fails(asked, status, code) {
    let answer;
    let failure;
    try {
      answer = await asked();
    } catch (error) {
      failure = this.main.failure(error);
      if (!failure) throw error;
    }
    if (!failure) throw new Wrong(`no error, but ${JSON.stringify(answer)}`);
    same(failure.status, status, "status");
    if (code && this.tells.code) same(failure.code, code, "code");
    return failure;
  }
}

async function problem(check) {
  const late = sleep(CHECK_MS).then(() => {
    throw new Wrong(`the check took more than ${CHECK_MS} ms`);
  });
  late.catch(() => {});
  try {
    await Promise.race([check(), late]);
    return undefined;
  } catch (error) {
    return error;
  }
}

function told(error) {
  if (!error) return "";
  return error instanceof Wrong ? error.message : `${error.stack}\n${error.cause ?? ""}`;
}

// Run the checks that CLIENT_CHECKS names on the drivers that these functions of {url, key, model, timeoutMs} make.
export async function run(...makers) {
  const env = process.env;
  const settings = { url: env.CLIENT_URL, key: env.CLIENT_KEY, model: env.CLIENT_MODEL, timeoutMs: 30_000 };
  const checks = makers.map((make) => new Checks(make, settings, env.CLIENT_REFUSES.split(",")));
  const byDialect = Object.fromEntries(checks.map((each) => [each.dialect, each]));
  let since = (await new Log(env.CLIENT_UPSTREAM).rows()).length;
  for (const name of env.CLIENT_CHECKS.split(",")) {
    const [dialect, check] = name.split(".");
    const method = check.replace(/-(.)/g, (_, letter) => letter.toUpperCase());
    const each = byDialect[dialect];
    for (let again = TRIES - 1; again >= 0; again--) {
      each.log = new Log(env.CLIENT_UPSTREAM, since);
      const error = await problem(() => each[method]());
      const calls = [since, since + (await each.log.rows()).length];
      since = calls[1];
      if (again && error instanceof Late) continue;
      process.stdout.write(`${JSON.stringify({ name, detail: told(error), calls })}\n`);
      break;
    }
  }
  process.exit(0); // clients keep sockets and timers, which nobody waits for
}
