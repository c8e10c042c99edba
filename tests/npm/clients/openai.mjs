// The `openai` package: `openai.mjs [openai|azure]`.

import OpenAI, { APIConnectionTimeoutError, APIError, APIUserAbortError, AzureOpenAI } from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

import { PIXEL, run } from "./harness.mjs";

const City = z.object({ city: z.string(), people: z.number().int(), capital: z.boolean() });
const IMAGE = `data:image/png;base64,${PIXEL}`;

class Driver {
  constructor({ url, key, model, timeoutMs }) {
    const options = { apiKey: key, timeout: timeoutMs, maxRetries: 0 };
    this.model = model;
    this.client =
      process.argv[2] === "azure"
        ? new AzureOpenAI({ endpoint: url, apiVersion: "2025-04-01-preview", ...options })
        : new OpenAI({ baseURL: `${url}/v1`, ...options });
  }

  failure(error) {
    if (!(error instanceof APIError) || !error.status) return undefined;
    return { status: error.status, code: error.code, retryAfter: error.headers?.get("retry-after") };
  }

  timedOut(error) {
    return error instanceof APIConnectionTimeoutError;
  }

  left(error) {
    return error instanceof APIUserAbortError;
  }
}

class Responses extends Driver {
  dialect = "responses";

  request({ text, image, tools = [], calls = [], outputs = [] }) {
    const seen = { type: "input_image", image_url: IMAGE, detail: "auto" };
    const content = image ? [{ type: "input_text", text }, seen] : text;
    const made = calls.map(({ id, ...call }) => ({ type: "function_call", call_id: id, ...call }));
    const back = outputs.map((output, at) => ({ type: "function_call_output", call_id: calls[at].id, output }));
    const named = ({ run: _, ...tool }) => ({ type: "function", ...tool, strict: true });
    const input = [{ role: "user", content }, ...made, ...back];
    return { model: this.model, input, ...(tools.length ? { tools: tools.map(named) } : {}) };
  }

  async ask(question) {
    return this.answer(await this.client.responses.create(this.request(question), { signal: question.signal }));
  }

  async *stream(question) {
    const stream = this.client.responses.stream(this.request(question), { signal: question.signal });
    for await (const event of stream) {
      if (event.type === "response.created") this.answerId = event.response.id;
      if (event.type === "response.output_text.delta") yield event.delta;
    }
    yield this.answer(await stream.finalResponse());
  }

  async models() {
    return (await Array.fromAsync(this.client.models.list())).map((model) => model.id);
  }

  async count(text) {
    return (await this.client.responses.inputTokens.count(this.request({ text }))).input_tokens;
  }

  async parse(text) {
    const format = zodTextFormat(City, "city");
    return (await this.client.responses.parse({ model: this.model, input: text, text: { format } })).output_parsed;
  }

  async stop(id) {
    return (await this.client.responses.cancel(id)).status;
  }

  answer({ output, output_text, usage }) {
    const calls = output
      .filter((item) => item.type === "function_call")
      .map((item) => ({ id: item.call_id, name: item.name, arguments: item.arguments }));
    return { text: output_text, calls, usage: [usage.input_tokens, usage.output_tokens] };
  }
}

class Chat extends Driver {
  dialect = "chat";

  request({ text, image, tools = [], calls = [], outputs = [] }) {
    const content = image ? [{ type: "text", text }, { type: "image_url", image_url: { url: IMAGE } }] : text;
    const made = calls.map(({ id, ...call }) => ({ id, type: "function", function: call }));
    const asked = calls.length ? [{ role: "assistant", content: null, tool_calls: made }] : [];
    const back = outputs.map((output, at) => ({ role: "tool", tool_call_id: calls[at].id, content: output }));
    const named = ({ run: _, ...tool }) => ({ type: "function", function: { ...tool, strict: true } });
    const messages = [{ role: "user", content }, ...asked, ...back];
    return { model: this.model, messages, ...(tools.length ? { tools: tools.map(named) } : {}) };
  }

  async ask(question) {
    return this.answer(await this.client.chat.completions.create(this.request(question), { signal: question.signal }));
  }

  async *stream(question) {
    const request = { ...this.request(question), stream_options: { include_usage: true } };
    const stream = this.client.chat.completions.stream(request, { signal: question.signal });
    for await (const chunk of stream) {
      const piece = chunk.choices[0]?.delta.content;
      if (piece) yield piece;
    }
    yield this.answer(await stream.finalChatCompletion());
  }

  async parse(text) {
    const format = { response_format: zodResponseFormat(City, "city") };
    const messages = [{ role: "user", content: text }];
    const found = await this.client.chat.completions.parse({ model: this.model, messages, ...format });
    return found.choices[0].message.parsed;
  }

  answer({ choices, usage }) {
    const { content, tool_calls } = choices[0].message;
    const calls = (tool_calls ?? []).map((call) => ({ id: call.id, ...call.function }));
    return { text: content ?? "", calls, usage: [usage.prompt_tokens, usage.completion_tokens] };
  }
}

await run((settings) => new Responses(settings), (settings) => new Chat(settings));
